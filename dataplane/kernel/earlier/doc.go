// Package earlier is package kernel as it was when maps did not say how they are
// laid out yet, with the program of then: for tests of upgrades, which need what
// an earlier build leaves behind, on machines that cannot compile one. It changes
// only where dataplane's types do. Its object is no target of make generate.
package earlier

// Run hands a packet to the program.
func (d *DataPlane) Run(frame []byte) (verdict uint32, out []byte, err error) {
	return d.objects.PointsmanLb.Test(frame)
}
