"""Users' configuration files that may hold a login or nothing but configuration.

Those that hold a token or password are removed, the others are reported. A reference to a variable, such as npm's
``${NPM_TOKEN}``, is no secret.
"""

from __future__ import annotations

import re

from vmseal.seal import text
from vmseal.seal.operations import Work

PATHS = (
    "~/.npmrc", "~/.yarnrc.yml", "~/.pypirc", "~/.config/pip/pip.conf", "~/.pip/pip.conf", "~/.m2/settings*.xml",
    "~/.gradle/gradle.properties", "~/.docker/config.json", "~/.my.cnf", "~/.config/helm/*.yaml",
    "~/.config/helm/registry/config.json", "~/.config/helm/repositories/*.yaml", "/etc/pip.conf",
)  # fmt: skip
COMMENT = re.compile(r"<!--.*?-->|^[ \t]*[#;][^\n]*", re.DOTALL | re.MULTILINE)
SECRET = re.compile(
    r"(?:password|passwd|passphrase|token|secret|api[_-]?key|private[_-]?key|auth|authident)"  # the key's end
    r"[\"']?[ \t]*[=:>][ \t]*[\"']?"
    r"(?!true\b|false\b|null\b|none\b)[^\s\"'<${},]",  # the value's first character
    re.IGNORECASE,
)
PLAIN = "it is plain configuration: no password or token was recognised in it"


def run(work: Work) -> None:
    """Remove the files that hold a secret and report the others."""
    for path in work.root.glob(*PATHS):
        content = text.read(work.root, path)
        if content is None:
            continue
        if holds_secret(content):
            work.root.remove_path(path)
        else:
            work.root.keep(path, PLAIN)


def holds_secret(content: str) -> bool:
    """Whether a file has a token or password that stands there itself."""
    bare = COMMENT.sub("", content)
    return bool(SECRET.search(bare) or re.search(text.URL_WITH_PASSWORD, bare))
