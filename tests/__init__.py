"""The promises of trunkline, each kept by a test; see CONTRIBUTING.md for which kind goes where."""
