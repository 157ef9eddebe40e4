"""DICOM files of arrays, made with pydicom."""

import io

import pytest

pydicom = pytest.importorskip("pydicom")


def dataset(values, syntax=None, **attributes):
    """A Dataset of pixels [h, w], [frames, h, w] (of grey) or [h, w, 3]; attributes replace what follows from them."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    found = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    found.SOPClassUID, found.SOPInstanceUID = CTImageStorage, "1.2.3"
    colour = values.ndim == 3 and values.shape[-1] == 3
    found.Rows, found.Columns = values.shape[:2] if colour else values.shape[-2:]
    found.SamplesPerPixel = 3 if colour else 1
    found.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        found.PlanarConfiguration = 0
    elif values.ndim == 3:
        found.NumberOfFrames = len(values)
    found.BitsAllocated = found.BitsStored = 8 * values.dtype.itemsize
    found.PixelRepresentation = int(values.dtype.kind == "i")
    found.PixelData = values.tobytes()
    for name, value in attributes.items():
        setattr(found, name, value)
    found.HighBit = found.BitsStored - 1
    return found


def encoded(found, enforce=True):
    """The bytes of a Dataset as a file."""
    file = io.BytesIO()
    found.save_as(file, enforce_file_format=enforce)
    return file.getvalue()


def make(values, syntax=None, **attributes):
    """The bytes of a file of pixels, as `dataset`."""
    return encoded(dataset(values, syntax, **attributes))
