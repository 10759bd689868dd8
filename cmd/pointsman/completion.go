package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

// completions are scripts that ask completeCommand. Colons in addresses, at which
// bash breaks words, are why it splits the line itself.
var completions = map[string]string{
	"bash": `# bash completion of pointsman
_pointsman() {
	local line="${COMP_LINE:0:COMP_POINT}" words found prefix
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	local last="${words[${#words[@]} - 1]}"
	mapfile -t COMPREPLY < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null | cut -f1)
	if [[ $last == *:* && $COMP_WORDBREAKS == *:* ]]; then
		prefix="${last%"${last##*:}"}"
		COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
	fi
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
	return 0
}
complete -F _pointsman pointsman
`,
	"zsh": `#compdef pointsman
_pointsman() {
	local -a abouts plain folders
	local word about
	while IFS=$'\t' read -r word about; do
		if [[ $word == */ ]]; then folders+=("$word"); continue; fi
		plain+=("$word")
		abouts+=("${word}${about:+  -- $about}")
	done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
	(( $#plain )) && compadd -l -d abouts -- $plain
	(( $#folders )) && compadd -S '' -- $folders
	return 0
}
if [[ ${funcstack[1]} == _pointsman ]]; then
	_pointsman "$@"
else
	compdef _pointsman pointsman
fi
`,
	"fish": `# fish completion of pointsman
function __pointsman_complete
	set -l before (commandline -opc)
	$before[1] __complete -- $before[2..-1] (commandline -ct) 2>/dev/null
end
complete -c pointsman -f -a '(__pointsman_complete)'
`,
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes commands, flags, services and backends",
		ArgsUsage: "bash|zsh|fish",
		UsageText: `pointsman completion bash|zsh|fish

Services and backends are asked of the daemon.

Examples:
  pointsman completion bash > /usr/share/bash-completion/completions/pointsman
  pointsman completion zsh > /usr/share/zsh/vendor-completions/_pointsman
  pointsman completion fish > /usr/share/fish/vendor_completions.d/pointsman.fish
  source <(pointsman completion bash)`,
		Action: func(c *cli.Context) error {
			script, known := completions[c.Args().First()]
			if c.NArg() != 1 || !known {
				return usageError{fmt.Errorf("completion takes bash, zsh or fish, got %q", c.Args().Slice()), "pointsman completion"}
			}
			_, err := io.WriteString(c.App.Writer, script)
			return err
		},
	}
}
