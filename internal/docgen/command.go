package docgen

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// command is the page of one command, in Markdown.
func command(cmd *cobra.Command, section string) string {
	var md strings.Builder
	fmt.Fprintf(&md, "# NAME\n%s \\- %s\n\n# SYNOPSIS\n%s\n\n# DESCRIPTION\n%s\n\n", dashed(cmd), lower(cmd.Short), synopsis(cmd), prose(cmd))
	if children := available(cmd); len(children) > 0 {
		md.WriteString("# COMMANDS\n")
		for _, c := range children {
			fmt.Fprintf(&md, "**%s**(%s)\n: %s.\n\n", dashed(c), section, escape(c.Short))
		}
	}
	options(&md, "# OPTIONS\n", cmd.NonInheritedFlags())
	options(&md, "# OPTIONS OF ALL COMMANDS\n", cmd.InheritedFlags())
	if cmd.Example != "" {
		fmt.Fprintf(&md, "# EXAMPLES\n```\n%s\n```\n\n", cmd.Example)
	}
	return md.String()
}

// lower makes a sentence what stands behind a name; names of things stay.
func lower(short string) string {
	if len(short) > 1 && short[1] >= 'a' && !strings.HasPrefix(short, "The Token") {
		return strings.ToLower(short[:1]) + short[1:]
	}
	return short
}

// synopsis sets what is typed as it is in bold, and the rest as what it stands for.
func synopsis(cmd *cobra.Command) string {
	words := strings.Fields(cmd.UseLine())
	for i, word := range words {
		if word == strings.ToLower(word) && !strings.ContainsAny(word, "[]|") {
			words[i] = "**" + escape(word) + "**"
		} else {
			words[i] = escape(word)
		}
	}
	if len(available(cmd)) > 0 {
		words = append(words, "COMMAND")
	}
	return strings.Join(words, " ")
}

// prose is what the command says of itself. Lines that are set in by two blanks
// or more stay as they are.
func prose(cmd *cobra.Command) string {
	if cmd.Long == "" {
		return escape(strings.TrimSuffix(cmd.Short, ".")) + "."
	}
	var md strings.Builder
	table := false
	for line := range strings.Lines(cmd.Long) {
		kept, isRow := strings.CutPrefix(line, "  ")
		if isRow != table {
			md.WriteString("\n") // Markdown wants it before a block, and after
		}
		if table = isRow; table {
			md.WriteString("    " + kept)
		} else {
			md.WriteString(escape(line))
		}
	}
	return md.String()
}

func available(cmd *cobra.Command) (list []*cobra.Command) {
	for _, c := range cmd.Commands() {
		if documented(c) {
			list = append(list, c)
		}
	}
	return list
}

func options(md *strings.Builder, heading string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	md.WriteString(heading)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := placeholder(f)
		fmt.Fprintf(md, "**--%s**", f.Name)
		if value != "" {
			fmt.Fprintf(md, " *%s*", escape(value))
		}
		fmt.Fprintf(md, "\n: %s\n\n", escape(sentence(usage)+byDefault(f)))
	})
}

// placeholder is what stands for a flag's value: the word in backquotes in its
// usage, where that is not a value itself, else the end of its name.
func placeholder(f *pflag.Flag) (value, usage string) {
	value, usage = pflag.UnquoteUsage(f)
	switch {
	case value == "":
		return "", usage
	case usage != f.Usage && value != f.DefValue:
		return strings.ToUpper(value), usage
	}
	name := strings.Split(f.Name, "-")
	return strings.ToUpper(name[len(name)-1]), usage
}

func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// byDefault says what holds without the flag, where that is not nothing.
func byDefault(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
		return ""
	}
	return " The default is " + f.DefValue + "."
}

// seeAlso names the pages around a command's.
func seeAlso(cmd *cobra.Command, section string) string {
	var list []string
	if cmd.HasParent() {
		list = append(list, fmt.Sprintf("**%s**(%s)", dashed(cmd.Parent()), section))
		for _, c := range available(cmd.Parent()) {
			if c != cmd && cmd.Parent().HasParent() {
				list = append(list, fmt.Sprintf("**%s**(%s)", dashed(c), section))
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	return "\n# SEE ALSO\n" + strings.Join(list, ", ") + "\n"
}

var special = regexp.MustCompile("[\\\\*_`<>\\[\\]#|~]")

// escape keeps Markdown from reading more into a text than it says.
func escape(text string) string { return special.ReplaceAllString(text, `\$0`) }
