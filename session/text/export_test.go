package text

// Tables are the messages of each language by their English ones.
func Tables() map[string]map[string]string {
	return map[string]map[string]string{"nl": dutch(), "fr": french(), "de": german()}
}
