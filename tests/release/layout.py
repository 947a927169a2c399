# SPDX-License-Identifier: Apache-2.0
"""Read an OCI archive (OCI image specification, image-layout.md)."""

import hashlib
import io
import json
import tarfile


class Layout:
    """The one index in an archive; a blob that is not what its digest says is an error."""

    def __init__(self, path):
        with tarfile.open(path) as archive:
            self._files = {entry.name: archive.extractfile(entry).read() for entry in archive}
        (self.entry,) = json.loads(self._files["index.json"])["manifests"]
        index = json.loads(self.blob(self.entry))
        self.manifests = {
            each["platform"]["architecture"]: json.loads(self.blob(each)) for each in index["manifests"]
        }

    def blob(self, descriptor):
        algorithm, _, digest = descriptor["digest"].partition(":")
        content = self._files[f"blobs/{algorithm}/{digest}"]
        assert algorithm == "sha256"
        assert hashlib.sha256(content).hexdigest() == digest
        assert len(content) == descriptor["size"]
        return content

    def config(self, architecture):
        return json.loads(self.blob(self.manifests[architecture]["config"]))

    def files(self, architecture):
        """Return the files of the only layer as an open tar archive."""
        (layer,) = self.manifests[architecture]["layers"]
        return tarfile.open(fileobj=io.BytesIO(self.blob(layer)))
