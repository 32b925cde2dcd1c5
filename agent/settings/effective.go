package settings

// Effective is one setting as it is in effect.
type Effective struct {
	Key string `json:"key"`
	// Value is a string, bool, int or []string; a secret's is whether it is set.
	Value  any    `json:"value"`
	Origin Origin `json:"origin"`
}

// Effective lists all settings in the order of the manual. Old names are there
// where they are set.
func (l Loaded) Effective() []Effective {
	r := reader{schema: schemaOf(Settings{}), loaded: &l}
	var list []Effective
	for _, s := range r.schema.list {
		from, set := l.Origins[s.key]
		if !set && (s.key == keyFloor || s.key == keyForbidCLI) {
			continue
		}
		value := r.value(s)
		if s.secret {
			value = set
		}
		list = append(list, Effective{s.key, value, from})
	}
	return list
}
