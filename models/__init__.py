"""Networks, zones and severity scores: arrays in, results out; nothing here knows DICOM."""
