"""The DICOM conformance statement, written from the tables that the code itself goes by.

It holds what PS3.2 asks of a statement (annex N is the template): overview, introduction, implementation
model, application entities, web services, configuration, media, character sets, security, and annexes with
objects, templates, private attributes and codes.
"""

from dicom_node.conformance.node import DestinationDescription, NodeDescription
from dicom_node.conformance.statement import conformance_statement

__all__ = ["DestinationDescription", "NodeDescription", "conformance_statement"]
