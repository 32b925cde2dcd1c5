package main

import (
	"github.com/spf13/cobra"
)

// completeProfile completes the id of a profile.
func (a *app) completeProfile(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := a.service().Profiles(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var ids []string
	for _, p := range list {
		ids = append(ids, p.ID+"\t"+p.User+" at "+p.Server)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeRequest offers the ids of what waits.
func (a *app) completeRequest(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := a.service().Requests(cmd.Context(), false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var ids []string
	for _, r := range list {
		ids = append(ids, r.ID+"\t"+r.Client.Name)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeBlock offers the relying parties that are blocked.
func (a *app) completeBlock(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := a.service().Blocks(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var ids []string
	for _, b := range list {
		ids = append(ids, b.Client.ID+"\t"+b.Client.Name)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
