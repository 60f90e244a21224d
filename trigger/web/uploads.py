"""The files of a form that is being answered: counted, named in the input, and kept while the call is accepted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from trigger import store
from trigger.config.model import Config, Files
from trigger.errors import BodyTooLarge, ExecutionNotFound, IdempotencyMismatch, TooManyRequests, UnsupportedMediaType
from trigger.inputs import Form
from trigger.inputs.forms import Upload
from trigger.kept_files import KeptFiles
from trigger.offload import offload
from trigger.store.queueing import Accepted, Call, Submitter


@dataclass(frozen=True, slots=True)
class FormFiles:
    """The files of one form, for an execution whose uid is known beforehand: their paths are part of its input."""

    folder: KeptFiles
    uid: str
    uploads: Sequence[Upload]

    @classmethod
    def of(cls, folder: KeptFiles, allowed: Files, body: Any, uploads: Sequence[Upload]) -> FormFiles | None:
        """Return the files of the form `body`; None where it has none.

        Raises BodyTooLarge for more or larger ones than are `allowed`, and UnsupportedMediaType for what is no form:
        JSON could name any path, and workflows believe what stands there.
        """
        if not isinstance(body, Form) and body != {}:
            raise UnsupportedMediaType("The Content-Type is not supported: send a form, as multipart/form-data")
        uploads = [upload for upload in uploads if upload.filename or upload.content]  # else no file was chosen
        if len(uploads) > allowed.max:
            raise BodyTooLarge(f"The form has more files than the {allowed.max} that are accepted")
        if any(len(upload.content) > allowed.size for upload in uploads):
            raise BodyTooLarge(f"A file of the form is larger than {allowed.size:,} bytes")
        return cls(folder, store.new_uid(), uploads) if uploads else None

    def named_in(self, form: Form) -> Form:
        """Return the form with what is known of each file under the name of its field."""
        found: dict[str, list[Any]] = {
            name: list(value) if isinstance(value, list) else [value] for name, value in form.items()
        }
        for number, upload in enumerate(self.uploads):
            found.setdefault(upload.field, []).append(
                {
                    "filename": upload.filename,
                    "content_type": upload.content_type,
                    "size": len(upload.content),
                    "path": self.folder.path(self.uid, number),
                }
            )
        return Form({name: values[0] if len(values) == 1 else values for name, values in found.items()})

    def submit(self, submitter: Submitter, call: Call, config: Config) -> Accepted:
        """Keep the files, and accept the call as Submitter.submit does. If it is refused, nothing is left of them.

        After a QueueUnavailable nobody knows whether it was accepted: then a sweep finds out.
        """
        submitter.check()
        compared = None
        if call.key is not None:  # the same files have another path each time
            written = json.dumps(call.input, sort_keys=True).replace(self.uid, "")
            digests = [hashlib.sha256(upload.content).hexdigest() for upload in self.uploads]
            compared = json.dumps([written, digests])
        offload(self.folder.keep, self.uid, [upload.content for upload in self.uploads])
        try:
            new = submitter.submit(replace(call, uid=self.uid, compared=compared), config)
        except (ExecutionNotFound, IdempotencyMismatch, TooManyRequests):
            self.folder.remove(self.uid)
            raise
        if new.uid != self.uid:
            self.folder.remove(self.uid)
        return new
