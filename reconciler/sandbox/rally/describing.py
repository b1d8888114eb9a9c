"""What the schema endpoint says about the types, and the lists of allowed values, in the form that pyral reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.sandbox.rally.calls import Call, Reply, Service, failure, success
from reconciler.sandbox.rally.rendering import API, Json

if TYPE_CHECKING:
    from reconciler.sandbox.rally.schema import Attribute, TypeDef

_ATTRIBUTES_PER_TYPE = 1000


def schema(service: Service, workspace: int) -> Reply:
    """Answer `GET /slm/schema/v2.0/workspace/oid` with all types, abstract ones included."""
    types = [_type(service, workspace, entry) for entry in service.store.schema.types.values()]
    return success("QueryResult", TotalResultCount=len(types), StartIndex=1, PageSize=len(types), Results=types)


def allowed_values(service: Service, call: Call) -> Reply:
    """Answer `GET /attributedefinition/-n/AllowedValues`."""
    _, number, name = call.path
    found = [
        (entry, attribute)
        for entry in service.store.schema.types.values()
        for attribute in entry.attributes.values()
        if str(_number(entry, attribute)) == number
    ]
    if not found or name != "AllowedValues" or call.method != "GET":
        return failure("OperationResult", "Cannot find object to read")
    workspace = service.store.at_ref(call.first("workspace"))
    [(entry, attribute)] = found
    values = service.store.schema.allowed(workspace.oid if workspace else 0, entry.name, attribute)
    results = [_allowed(service, value) for value in values]
    return success("QueryResult", TotalResultCount=len(values), StartIndex=1, PageSize=2000, Results=results)


def _allowed(service: Service, value: str) -> Json:
    return {
        **API,
        "_ref": service.renderer.url(f"allowedattributevalue/-{sum(value.encode())}"),
        "_refObjectName": value,
        "StringValue": value,
        "LocalizedStringValue": value,
        "_type": "AllowedAttributeValue",
    }


def _number(entry: TypeDef, attribute: Attribute) -> int:
    """Give the number of an attribute's definition: negative, as those of Rally's own attributes are."""
    return -(entry.number * _ATTRIBUTES_PER_TYPE + list(entry.attributes).index(attribute.name))


def _type(service: Service, workspace: int, entry: TypeDef) -> Json:
    return {
        **API,
        "_ref": service.renderer.url(f"typedefinition/-{entry.number}"),
        "_refObjectName": entry.name,
        "_type": "TypeDefinition",
        "ObjectID": -entry.number,
        "ElementName": entry.name,
        "Name": entry.name,
        "DisplayName": entry.name,
        "TypePath": entry.name,
        "IDPrefix": entry.prefix,
        "Abstract": entry.abstract,
        "Parent": {"_refObjectName": entry.parent, "_type": "TypeDefinition"} if entry.parent else None,
        "Creatable": entry.creatable,
        "Queryable": entry.queryable,
        "ReadOnly": not entry.creatable,
        "Deletable": entry.creatable,
        "Restorable": bool(entry.prefix),
        "Ordinal": -1,
        "RevisionHistory": None,
        "Attributes": [_attribute(service, workspace, entry, a) for a in entry.attributes.values()],
    }


def _attribute(service: Service, workspace: int, entry: TypeDef, attribute: Attribute) -> Json:
    reference = service.renderer.url(f"attributedefinition/{_number(entry, attribute)}")
    return {
        **API,
        "_ref": reference,
        "_refObjectName": attribute.display_name,
        "_type": "AttributeDefinition",
        "ElementName": attribute.name,
        "Name": attribute.display_name,
        "AttributeType": attribute.kind.value,
        "Custom": attribute.name.startswith("c_"),
        "Required": attribute.required,
        "ReadOnly": attribute.read_only,
        "Filterable": True,
        "Hidden": False,
        "SchemaType": attribute.to or attribute.kind.value.lower(),
        "Constrained": attribute.constrained,
        "AllowedValueType": {"_refObjectName": attribute.to, "_type": "TypeDefinition"} if attribute.to else None,
        "AllowedValues": _allowed_values(service, workspace, entry, attribute, reference),
        "MaxLength": attribute.max_length or -1,
        "MaxFractionalDigits": -1,
    }


def _allowed_values(
    service: Service, workspace: int, entry: TypeDef, attribute: Attribute, reference: str
) -> list[Json] | Json:
    values = service.store.schema.allowed(workspace, entry.name, attribute)
    if not values or service.behaviour.allowed_values == "inline":
        return [{"StringValue": value, "LocalizedStringValue": value} for value in values]
    return {**API, "_ref": f"{reference}/AllowedValues", "_type": "AllowedAttributeValue", "Count": len(values)}
