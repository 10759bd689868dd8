package kernel

import "fmt"

// isLater tells that maps are of a build that came after this one. Even where their
// types convert, what they hold may mean something else by now: the version goes up
// for nothing else.
func (g *generation) isLater() bool {
	return g != nil && g.version > lbLayoutVersionLAYOUT_VERSION
}

// refuse says what an operator can do about maps of a later build. They are left as
// they are, and so is the program that forwards by them.
func (p pins) refuse(later *generation) error {
	return fmt.Errorf("the maps in %s are of a later build of pointsman: their layout is number %d, and this build knows those up to %d. "+
		"Nothing was changed, and packets are forwarded as that build left it. Start that build again; or, to go back to this one, "+
		"first run `pointsman detach --pin-dir %s`: from then on nothing is forwarded, and remembered flows are forgotten, until this one has started",
		p.dir, later.version, lbLayoutVersionLAYOUT_VERSION, p.dir)
}
