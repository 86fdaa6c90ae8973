"""The DICOM conformance statement, written from the tables that the code itself goes by.

It follows the order of PS3.2's template (annex N, which replaced annex A's): overview, introduction,
implementation model, application entities, web services, configuration, media, character sets, security,
and annexes with objects, templates, private attributes and codes.
"""

from dicom_node.conformance.node import DestinationDescription, NodeDescription
from dicom_node.conformance.statement import conformance_statement

__all__ = ["DestinationDescription", "NodeDescription", "conformance_statement"]
