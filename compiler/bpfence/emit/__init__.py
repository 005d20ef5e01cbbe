"""The plan and the contents to an artefact: C text, table images, manifest."""
