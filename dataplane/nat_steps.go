package dataplane

// hasNAT tells whether some VIP will be of nat.
func (d *difference) hasNAT() bool {
	for _, entry := range d.vips {
		if entry.NAT {
			return true
		}
	}
	return false
}

// appendNAT lets the program make connections before it has to, and see their
// answers. It is not stopped here: connections outlive their VIP.
func (d *difference) appendNAT(steps []Step) []Step {
	if !d.hasNAT() {
		return steps
	}
	if !d.have.NAT.Equal(d.nat) {
		steps = append(steps, PutNAT{d.nat})
	}
	if !d.have.SeesNAT {
		steps = append(steps, SeeNAT{true})
	}
	return steps
}
