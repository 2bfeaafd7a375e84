"""The XML of an FMU: `modelDescription.xml` of FMI 2.0 and of 3.0, and what 3.0 says of its sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree as Xml

from kdpinn_edge.export.artifacts.fmu_units import base_unit
from kdpinn_edge.export.artifacts.fmu_variables import Variable, Variables
from kdpinn_edge.export.artifacts.versions import version

Attributes = Mapping[str, str]
LOGGED = {"name": "logStatusError", "description": "Calls that are refused, and an instance whose self-test fails"}


def fmi2_description(name: str, token: str, equation: str | None, found: Variables, sources: Iterable[str]) -> bytes:
    """`modelDescription.xml` of FMI 2.0; `sources` are the files to compile."""
    root = Xml.Element("fmiModelDescription", {**_head("2.0", name, equation), "guid": token})
    can = {
        "modelIdentifier": name,
        "canNotUseMemoryManagementFunctions": "true",
        "canGetAndSetFMUstate": "true",
        "canSerializeFMUstate": "true",
        "providesDirectionalDerivative": _said(bool(found.derivatives)),
    }
    for interface, more in (("ModelExchange", {"completedIntegratorStepNotNeeded": "true"}), ("CoSimulation", STEPS)):
        files = Xml.SubElement(Xml.SubElement(root, interface, {**can, **more}), "SourceFiles")
        for file in sources:
            Xml.SubElement(files, "File", name=file)
    _units_and_log(root, found.scalars)
    listed = Xml.SubElement(root, "ModelVariables")
    for each in found.scalars:
        said = {"name": each.name, "valueReference": str(each.reference)}
        said |= {"causality": each.causality, "variability": each.variability}
        Xml.SubElement(Xml.SubElement(listed, "ScalarVariable", said), "Real", _numbers(each))
    structure = Xml.SubElement(root, "ModelStructure")
    for part in ("Outputs", "InitialUnknowns"):
        unknowns = Xml.SubElement(structure, part)
        for each in _outputs(found.scalars):
            Xml.SubElement(unknowns, "Unknown", index=str(each.reference + 1))
    return _text(root)


def fmi3_description(name: str, token: str, equation: str | None, found: Variables) -> bytes:
    """`modelDescription.xml` of FMI 3.0."""
    root = Xml.Element("fmiModelDescription", {**_head("3.0", name, equation), "instantiationToken": token})
    can = {
        "modelIdentifier": name,
        "canGetAndSetFMUState": "true",
        "canSerializeFMUState": "true",
        "providesDirectionalDerivatives": _said(bool(found.derivatives)),
        "providesAdjointDerivatives": _said(bool(found.derivatives)),
    }
    Xml.SubElement(root, "ModelExchange", {**can, "needsCompletedIntegratorStep": "false"})
    Xml.SubElement(root, "CoSimulation", {**can, **STEPS})
    _units_and_log(root, found.with_arrays)
    listed = Xml.SubElement(root, "ModelVariables")
    for each in found.with_arrays:
        said = {"name": each.name, "valueReference": str(each.reference)}
        said |= {"causality": each.causality, "variability": each.variability}
        variable = Xml.SubElement(listed, "Float64", {**said, **_numbers(each)})
        if each.size > 1:
            Xml.SubElement(variable, "Dimension", start=str(each.size))
    structure = Xml.SubElement(root, "ModelStructure")
    for part in ("Output", "InitialUnknown"):
        for each in _outputs(found.with_arrays):
            Xml.SubElement(structure, part, valueReference=str(each.reference))
    return _text(root)


def build_description(name: str, sources: Iterable[str], libraries: Iterable[str]) -> bytes:
    """`sources/buildDescription.xml` of FMI 3.0: the files to compile, and the libraries to link."""
    root = Xml.Element("fmiBuildDescription", fmiVersion="3.0")
    configuration = Xml.SubElement(root, "BuildConfiguration", modelIdentifier=name)
    files = Xml.SubElement(configuration, "SourceFileSet", language="C99")
    for file in sources:
        Xml.SubElement(files, "SourceFile", name=file)
    for library in libraries:
        Xml.SubElement(configuration, "Library", name=library, external="true")
    return _text(root)


STEPS: Attributes = {"canHandleVariableCommunicationStepSize": "true"}


def _head(fmi: str, name: str, equation: str | None) -> dict[str, str]:
    described = {"description": equation} if equation else {}
    return {
        "fmiVersion": fmi,
        "modelName": name,
        **described,
        "generationTool": f"kdpinn_edge {version('kdpinn-edge')}",
        "variableNamingConvention": "flat",
    }


def _units_and_log(root: Xml.Element, listed: Sequence[Variable]) -> None:
    units = dict.fromkeys(each.unit for each in listed if each.unit is not None)
    if units:
        defined = Xml.SubElement(root, "UnitDefinitions")
        for unit in units:
            element, known = Xml.SubElement(defined, "Unit", name=unit), base_unit(unit)
            if known is not None:
                Xml.SubElement(element, "BaseUnit", known.attributes())
    Xml.SubElement(Xml.SubElement(root, "LogCategories"), "Category", LOGGED)


def _numbers(each: Variable) -> dict[str, str]:
    """The unit, the bounds and the start of a variable."""
    said = {"unit": each.unit} if each.unit is not None else {}
    bounds = {"min": each.lower, "max": each.upper}
    said |= {side: repr(float(bound)) for side, bound in bounds.items() if bound is not None}
    return said | ({"start": " ".join(map(repr, each.start))} if each.start else {})


def _outputs(listed: Sequence[Variable]) -> list[Variable]:
    return [each for each in listed if each.causality == "output"]


def _said(value: bool) -> str:
    return str(value).lower()


def _text(root: Xml.Element) -> bytes:
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="UTF-8", xml_declaration=True)) + b"\n"
