package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name:  "man",
		Usage: "print the manual page",
		UsageText: `pointsman man

Examples:
  pointsman man | man -l -
  pointsman man > /usr/share/man/man8/pointsman.8`,
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			_, err := io.WriteString(c.App.Writer, manual(newApp(nil, nil, nil), buildVersion()))
			return err
		},
	}
}

// manual is the page, made of what --help prints, so that there is one text.
func manual(app *cli.App, version string) string {
	page := roff{}
	fmt.Fprintf(&page, ".TH POINTSMAN 8 \"\" \"pointsman %s\" \"System Administration\"\n", escape(version))
	page.section("NAME")
	page.text(app.Name + " - " + app.Usage)
	page.section("SYNOPSIS")
	page.line(`.B pointsman`)
	page.line(`.I COMMAND`)
	page.line("[" + escape("FLAGS] [ARGUMENTS]"))
	page.section("DESCRIPTION")
	page.paragraph("Forwards TCP and UDP packets for virtual addresses to backends, by an XDP program. 'pointsman run' is the daemon; most other commands ask it over a unix socket. Flags may stand before and after arguments. Tables go to stdout, messages to stderr.")
	page.section("COMMANDS")
	for _, c := range app.Commands {
		if !c.Hidden {
			page.command(c)
		}
	}
	page.section("EXIT STATUS")
	for code, means := range exitMeanings {
		page.term(fmt.Sprint(code), means)
	}
	page.section("FILES")
	page.term(defaultConfig, "the configuration; a folder of files with --config")
	page.term(defaultSocket, "where the daemon answers, to root and group pointsman")
	page.term(defaultPinDir, "the programs and maps, which outlive the daemon")
	page.term("/var/lib/pointsman", "what outlives the host's restart: Consul's last word, overrides, the hash secret")
	page.section("SEE ALSO")
	page.text("https://github.com/pointsman/pointsman, consul(1), xdp-loader(8), bpftool(8)")
	return page.String()
}

// roff is a manual page as man reads it.
type roff struct{ strings.Builder }

func (r *roff) line(text string) { r.WriteString(text + "\n") }

func (r *roff) section(name string) { r.line(".SH " + name) }

func (r *roff) text(text string) { r.line(escape(text)) }

func (r *roff) paragraph(text string) { r.line(".PP"); r.text(text) }

func (r *roff) term(name, text string) {
	r.line(".TP")
	r.line(".B " + escape(name))
	r.text(text)
}

// literal is text whose lines stay as they are.
func (r *roff) literal(text string) {
	for _, control := range []string{".PP", ".RS 4", ".nf"} {
		r.line(control)
	}
	for line := range strings.Lines(text) {
		r.text(strings.TrimSuffix(line, "\n"))
	}
	r.line(".fi")
	r.line(".RE")
}

// command has its synopsis as a heading, then its text, flags and examples.
func (r *roff) command(c *cli.Command) {
	synopsis, rest, _ := strings.Cut(c.UsageText, "\n")
	r.line(".SS " + escape(synopsis))
	r.text(strings.ToUpper(c.Usage[:1]) + c.Usage[1:] + ".")
	about, examples := rest, ""
	if at := examplesBegin.FindStringIndex(rest); at != nil {
		about, examples = rest[:at[0]], rest[at[1]:]
	}
	for _, paragraph := range strings.Split(strings.TrimSpace(about), "\n\n") {
		if strings.HasPrefix(paragraph, "  ") || strings.Contains(paragraph, "\n  ") {
			r.literal(paragraph)
		} else if paragraph != "" {
			r.paragraph(strings.ReplaceAll(paragraph, "\n", " "))
		}
	}
	for _, f := range c.Flags {
		r.term(flagSynopsis(f))
	}
	if examples != "" {
		r.literal(strings.TrimSpace(unindent(examples)))
	}
}

var examplesBegin = regexp.MustCompile(`(?m)^Examples?:\n`)

func unindent(text string) string { return strings.ReplaceAll("\n"+text, "\n  ", "\n") }

// flagSynopsis is "--output FORMAT, -o FORMAT" and what it is for, with its default.
func flagSynopsis(f cli.Flag) (names, usage string) {
	documented, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return dashed(f.Names()[0]), ""
	}
	usage = documented.GetUsage()
	value := ""
	if placeholder := quoted.FindStringSubmatch(usage); placeholder != nil {
		value = " " + placeholder[1]
	}
	var spelled []string
	for _, name := range f.Names() {
		spelled = append(spelled, dashed(name)+value)
	}
	if given := documented.GetDefaultText(); given != "" && takesValue(f) {
		usage += " (default: " + given + ")"
	}
	return strings.Join(spelled, ", "), strings.ReplaceAll(usage, "`", "")
}

var quoted = regexp.MustCompile("`([^`]+)`")

// escape keeps roff from taking text for anything else.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "→", `\(->`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}
