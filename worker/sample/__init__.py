"""Three real chest radiographs as DICOM objects, for the demonstration and the tests; see ATTRIBUTION.md."""
