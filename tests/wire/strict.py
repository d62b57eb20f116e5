# SPDX-License-Identifier: Apache-2.0
"""A second reader of requests, by the letter of RFC 9112: what a byte string contains, and where it ends.

read(data) gives the ids of the requests that are complete and legal, in order (None for one without a
usable X-Request-Id), and how it ends: "clean", "bad" (framing is lost) or "more" (something is unfinished).
Where the RFC leaves a choice (an empty line before a request, a space after a chunk size) it says "unsure".
"""

import re

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
LINE = re.compile(rb"(" + TCHAR + rb"{1,32}) ([\x21-\x7e\x80-\xff]{1,8192}) HTTP/1\.([01])\r\n")
FIELD = re.compile(rb"(" + TCHAR + rb"+):([\t\x20-\x7e\x80-\xff]*)\r\n")
QUOTED = rb"\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*\""
SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;" + TCHAR + rb"+(?:=(?:" + TCHAR + rb"+|" + QUOTED + rb"))?)*)\r\n")
ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
MAX_BODY = 32 << 20


class End(Exception):
    pass


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def line(self, pattern):
        """One line that matches; a line without end may still become one."""
        end = self.data.find(b"\n", self.at)
        m = pattern.fullmatch(self.data, self.at, end + 1) if end >= 0 else None
        if m:
            self.at = m.end()
            return m
        raise End("bad" if end >= 0 else "more")

    def take(self, n):
        if self.at + n > len(self.data):
            raise End("more")
        self.at += n
        return self.data[self.at - n : self.at]

    def fields(self):
        out = []
        while self.data[self.at : self.at + 2] != b"\r\n":
            m = self.line(FIELD)
            out.append((m[1].lower(), m[2].strip(b" \t")))
        self.at += 2
        return out

    def chunks(self):
        while True:
            if re.match(rb"[0-9A-Fa-f]+[ \t]", self.data[self.at : self.at + 20]):
                raise End("unsure")
            n = int(self.line(SIZE)[1], 16)
            if n == 0:
                break
            if n > MAX_BODY:
                raise End("more")
            self.take(n)
            end = self.take(min(2, len(self.data) - self.at))
            if not b"\r\n".startswith(end):
                raise End("bad")
            if end != b"\r\n":
                raise End("more")
        self.fields()

    def request(self):
        if self.data[self.at : self.at + 1] in (b"\r", b"\n"):
            raise End("unsure")
        version = self.line(LINE)[3]
        fields = self.fields()
        named = {k: [v for name, v in fields if name == k] for k, _ in fields}
        hosts, codings, lengths = (len(named.get(k, ())) for k in (b"host", b"transfer-encoding", b"content-length"))
        if hosts > 1 or (version == b"1" and hosts != 1) or codings + lengths > 1:
            raise End("bad")
        if codings:
            if named[b"transfer-encoding"][0].lower() != b"chunked" or version == b"0":
                raise End("bad")
            self.chunks()
        elif lengths:
            text = named[b"content-length"][0]
            if not re.fullmatch(rb"[0-9]+", text) or int(text) > MAX_BODY:
                raise End("bad")
            self.take(int(text))
        ids = named.get(b"x-request-id", [])
        return ids[-1].decode() if len(ids) == 1 and ID.fullmatch(ids[0]) else None


def read(data):
    r, ids = Reader(data), []
    try:
        while r.at < len(data):
            ids.append(r.request())
    except End as e:
        return ids, e.args[0]
    return ids, "clean"
