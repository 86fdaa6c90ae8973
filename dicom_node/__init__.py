"""DICOM in, DICOM out: the storage node, the pixels of a radiograph, the report and the capture."""
