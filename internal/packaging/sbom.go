package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// object is a JSON object of CycloneDX that is passed on as it is.
type object = map[string]any

// bom is what of a CycloneDX document is put together anew.
type bom struct {
	Schema       string     `json:"$schema"`
	BOMFormat    string     `json:"bomFormat"`
	SpecVersion  string     `json:"specVersion"`
	Version      int        `json:"version"`
	Metadata     metadata   `json:"metadata"`
	Components   []object   `json:"components"`
	Dependencies []relation `json:"dependencies"`
}

type metadata struct {
	Timestamp  string   `json:"timestamp,omitempty"`
	Tools      []object `json:"tools"`
	Component  object   `json:"component"`
	Properties []object `json:"properties,omitempty"`
}

type relation struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// sbom writes one bill of materials for a package, in CycloneDX: its programs,
// each with what is linked into it as cyclonedx-gomod reads it from the program,
// with the licenses that we have judged, and without anything that differs from
// one build to the next.
func sbom(ctx context.Context, out io.Writer, tool, name, version string, programs []string) error {
	date, err := sourceDate()
	if err != nil {
		return err
	}
	whole := bom{Version: 1, Metadata: metadata{Timestamp: date.Format(time.RFC3339)}}
	self := relation{Ref: name + "@" + version}
	var parts []object
	for _, program := range programs {
		b, err := programBOM(ctx, tool, program, version)
		if err != nil {
			return err
		}
		whole.Schema, whole.BOMFormat, whole.SpecVersion, whole.Metadata.Tools = b.Schema, b.BOMFormat, b.SpecVersion, b.Metadata.Tools
		part := b.Metadata.Component
		part["name"], part["properties"] = filepath.Base(program), b.Metadata.Properties
		parts = append(parts, part)
		self.DependsOn = append(self.DependsOn, fmt.Sprint(part["bom-ref"]))
		whole.Components = append(whole.Components, b.Components...)
		whole.Dependencies = append(whole.Dependencies, b.Dependencies...)
	}
	whole.Metadata.Component = object{
		"bom-ref": self.Ref, "type": "application", "name": name, "version": version,
		"licenses": spdx("Apache-2.0"), "components": parts,
	}
	whole.Dependencies = append(whole.Dependencies, self)
	whole.tidy()
	if err := whole.license(ctx, programs); err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(whole)
}

// programBOM reads one program.
func programBOM(ctx context.Context, tool, program, version string) (b bom, err error) {
	cmd := exec.CommandContext(ctx, tool, "bin", "-json", "-noserial", "-notimestamp", "-std", "-version", "v"+version, program) //nolint:gosec // what the build names
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return bom{}, fmt.Errorf("%s %s: %w", tool, program, err)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return bom{}, fmt.Errorf("%s %s: %w", tool, program, err)
	}
	for _, t := range b.Metadata.Tools {
		delete(t, "hashes") // those of the tool as it was built here
	}
	return b, nil
}

// tidy leaves each component and each dependency once, in order.
func (b *bom) tidy() {
	components := map[string]object{}
	for _, c := range b.Components {
		components[fmt.Sprint(c["bom-ref"])] = c
	}
	b.Components = nil
	for _, ref := range slices.Sorted(maps.Keys(components)) {
		b.Components = append(b.Components, components[ref])
	}
	on := map[string][]string{}
	for _, d := range b.Dependencies {
		on[d.Ref] = append(on[d.Ref], d.DependsOn...)
	}
	b.Dependencies = nil
	for _, ref := range slices.Sorted(maps.Keys(on)) {
		list := slices.Sorted(slices.Values(on[ref]))
		b.Dependencies = append(b.Dependencies, relation{ref, slices.Compact(list)})
	}
}

// license says of each component what its license is.
func (b *bom) license(ctx context.Context, programs []string) error {
	list, err := linked(ctx, programs)
	if err != nil {
		return err
	}
	names := map[string][]string{}
	for _, m := range list {
		path := strings.Replace(m.path, standardLibrary, "std", 1)
		if names[path], err = m.licenses(); err != nil {
			return err
		}
	}
	for _, c := range b.Components {
		found, ok := names[fmt.Sprint(c["name"])]
		if !ok {
			return fmt.Errorf("%v is in the bill of materials and not in the programs", c["name"])
		}
		c["licenses"] = spdx(found...)
	}
	return nil
}

// spdx is a list of licenses that all hold.
func spdx(names ...string) []object {
	return []object{{"expression": strings.Join(names, " AND ")}}
}
