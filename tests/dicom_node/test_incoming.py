import zlib

import pytest
from pydicom import Dataset, uid
from pynetdicom.dsutils import encode as pynetdicom_encode

from dicom_node.errors import InvalidInstance, MismatchedInstance, UndecodableInstance
from dicom_node.incoming import HEADER_LIMIT_BYTES, is_valid_uid, read_identity

UIDS = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
    "SOPInstanceUID": "1.2.3",
    "StudyInstanceUID": "1.2.4",
    "SeriesInstanceUID": "1.2.5",
}
SYNTAXES = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]


def encode(syntax=uid.ExplicitVRLittleEndian, **keywords):
    dataset = Dataset()
    for keyword, value in keywords.items():
        setattr(dataset, keyword, value)
    return pynetdicom_encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_uids_are_read_in_every_encoding(syntax):
    identity = read_identity(encode(syntax, **UIDS, PatientName="Doe^Jane", Rows=1), syntax)
    assert identity.sop_class_uid == UIDS["SOPClassUID"]
    assert identity.sop_instance_uid == "1.2.3"
    assert identity.study_instance_uid == "1.2.4"
    assert identity.series_instance_uid == "1.2.5"


def test_what_follows_the_uids_is_not_read():
    data_set = encode(**UIDS) + b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\xffcut off here"
    assert read_identity(data_set, uid.ExplicitVRLittleEndian).sop_instance_uid == "1.2.3"


def test_sequences_before_the_uids_are_walked_over():
    item = Dataset()
    item.ReferencedSOPInstanceUID = "9.9.9"
    data_set = encode(**UIDS, ReferencedImageSequence=[item])
    assert read_identity(data_set, uid.ExplicitVRLittleEndian).series_instance_uid == "1.2.5"


@pytest.mark.parametrize("missing", sorted(UIDS))
def test_a_missing_uid_is_a_mismatch(missing):
    data_set = encode(**{keyword: value for keyword, value in UIDS.items() if keyword != missing})
    with pytest.raises(MismatchedInstance, match="is missing or empty"):
        read_identity(data_set, uid.ExplicitVRLittleEndian)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_malformed_uid_is_invalid(keyword):
    right = encode(**(UIDS | {keyword: "1.2.888.777"}))
    with pytest.raises(InvalidInstance, match="not a valid UID"):
        read_identity(right.replace(b"1.2.888.777", b"../../etc/p"), uid.ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "data_set",
    [b"", b"\0", b"GIF89a" * 99, b"\xff" * 4096, b"\x08\0\x16\0UI\xff\xff1.2"],
    ids=["empty", "one byte", "a picture", "all ones", "broken off"],
)
def test_what_is_no_data_set_cannot_be_understood(data_set):
    with pytest.raises((UndecodableInstance, InvalidInstance, MismatchedInstance)):
        read_identity(data_set, uid.ExplicitVRLittleEndian)


def test_bytes_that_do_not_inflate_cannot_be_understood():
    with pytest.raises(UndecodableInstance):
        read_identity(b"\xff" * 99, uid.DeflatedExplicitVRLittleEndian)


def test_a_compressed_bomb_is_opened_only_as_far_as_the_header_may_reach():
    # a long element before the UIDs: a few kilobytes on the wire, and who inflates them all finds the UIDs
    data_set = b"\x07\0\x01\0OB\0\0" + HEADER_LIMIT_BYTES.to_bytes(4, "little")
    data_set += bytes(HEADER_LIMIT_BYTES) + encode(**UIDS)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = compressor.compress(data_set) + compressor.flush()
    with pytest.raises(UndecodableInstance):
        read_identity(bomb, uid.DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1.2.840.10008.1.1", True),
        ("2.25.0", True),
        ("0.0", True),
        ("1" * 64, True),
        ("1" * 65, False),
        ("", False),
        ("1..2", False),
        (".1", False),
        ("1.", False),
        ("1.02", False),
        ("1.a", False),
        ("1.2\n", False),
        ("1/2", False),
        ("١.2", False),
    ],
)
def test_uid_rules(text, valid):
    assert is_valid_uid(text) is valid


@pytest.mark.parametrize("group", [0x0000, 0x0002])
def test_elements_of_messages_and_file_headers_have_no_place(group):
    foreign = group.to_bytes(2, "little") + b"\x10\0UI\x16\x00" + b"1.2.840.10008.1.2.1.99"
    with pytest.raises(UndecodableInstance, match=f"group {group:04X}"):
        read_identity(foreign + encode(**UIDS), uid.ExplicitVRLittleEndian)


@pytest.mark.parametrize("keyword", sorted(UIDS))
def test_a_uid_that_stands_there_twice_is_not_believed(keyword):
    one = encode(**{keyword: UIDS[keyword]})
    data_set = encode(**UIDS)
    with pytest.raises(UndecodableInstance, match="twice"):
        read_identity(data_set.replace(one, one + one), uid.ExplicitVRLittleEndian)


@pytest.mark.parametrize("depth", [1, 10_000])
def test_a_flood_of_items_before_the_uids_is_broken_off(depth):
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" if depth > 1 else b"\xfe\xff\x00\xe0\0\0\0\0"
    inner = b"\x07\0\x01\0SQ\0\0\xff\xff\xff\xff" + item
    flood = inner * depth if depth > 1 else inner + item * 400_000
    with pytest.raises(UndecodableInstance):
        read_identity(flood + encode(**UIDS), uid.ExplicitVRLittleEndian)
