"""``VectorField``: a column of vectors in an ordinary table."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from django import forms
from django.core import checks
from django.core.exceptions import ValidationError
from django.db import models

from ...errors import DimensionError, InvalidVectorError


class _Empty:
    """Django asks ``value in empty_values``; an array has no one truth to answer that with."""

    def __contains__(self, value: object) -> bool:
        return value is None or (isinstance(value, (str, list, tuple)) and not value)

    def __iter__(self) -> Any:
        return iter((None, ""))


class VectorField(models.Field):
    """Vectors of float32: ``VectorField(dimensions=384)``.

    Values are arrays or sequences of finite numbers; what comes back is a numpy array of shape ``(dimensions,)``. Stored as a
    blob, declared ``F32_BLOB(384)``.

    Args:
        dimensions: length of every vector; None for any.
    """

    description = "A vector"
    empty_strings_allowed = False
    empty_values = _Empty()

    def __init__(self, *args: Any, dimensions: int | None = None, **kwargs: Any) -> None:
        self.dimensions = dimensions
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        if self.dimensions is not None:
            kwargs["dimensions"] = self.dimensions
        return name, "vssnative.integrations.django.VectorField", args, kwargs

    def check(self, **kwargs: Any) -> list[Any]:
        errors = list(super().check(**kwargs))
        if self.dimensions is not None and (not isinstance(self.dimensions, int) or self.dimensions < 1):
            errors.append(
                checks.Error(
                    f"'dimensions' must be a number of 1 or more, not {self.dimensions!r}.",
                    obj=self,
                    id="vssnative.E002",
                )
            )
        return errors

    def db_type(self, connection: Any) -> str:
        if connection.vendor != "sqlite":
            raise NotImplementedError(
                f"VectorField is for SQLite; {connection.alias!r} is {connection.vendor}. For PostgreSQL there is pgvector."
            )
        return "F32_BLOB" if self.dimensions is None else f"F32_BLOB({self.dimensions})"

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise ValidationError(f"Expected a JSON array of numbers: {error}", code="invalid") from error
        try:
            return self._checked(value)
        except InvalidVectorError as error:
            raise ValidationError(str(error), code="invalid") from error

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else np.frombuffer(value, dtype="<f4").copy()

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        if value is None or isinstance(value, bytes) or hasattr(value, "resolve_expression"):
            return value
        return self._checked(json.loads(value) if isinstance(value, str) else value).tobytes()

    def value_to_string(self, obj: Any) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else json.dumps([float(one) for one in value])

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": VectorFormField, "field": self, **kwargs})

    def _checked(self, value: Any) -> Any:
        """float32 (dimensions,).

        Raises:
            DimensionError, InvalidVectorError: it is no vector of this field.
        """
        name = getattr(self, "name", None) or "a vector"
        if isinstance(value, (bytes, bytearray, memoryview)):
            value = np.frombuffer(value, dtype="<f4")
        try:
            vector = np.asarray(value, dtype="<f4")
        except (TypeError, ValueError) as error:
            raise InvalidVectorError(
                f"{name}: expected numbers, got {type(value).__name__}: {error}"
            ) from error
        if vector.ndim != 1 or (self.dimensions is not None and len(vector) != self.dimensions):
            wanted = "numbers" if self.dimensions is None else f"{self.dimensions} numbers"
            got = f"{len(vector)} numbers" if vector.ndim == 1 else f"an array of shape {vector.shape}"
            raise DimensionError(f"{name}: expected {wanted}, got {got}")
        if not np.isfinite(vector).all():
            place = int(np.argmin(np.isfinite(vector)))
            raise InvalidVectorError(f"{name}: element {place} is {vector[place]}")
        return vector


class VectorFormField(forms.CharField):
    """A JSON array of numbers."""

    widget = forms.Textarea

    def __init__(self, *, field: VectorField | None = None, **kwargs: Any) -> None:
        self._field = VectorField() if field is None else field
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        return json.dumps([round(float(one), 8) for one in value])

    def to_python(self, value: Any) -> Any:
        return self._field.to_python(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial) != data)

    def validate(self, value: Any) -> None:
        if value is None and self.required:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """Those of texts have no meaning here."""
