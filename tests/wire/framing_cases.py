# SPDX-License-Identifier: Apache-2.0
"""Requests at and beyond the border of RFC 9112, as bytes, with the only answers that are right.

A case is (name, bytes, statuses, end). `statuses` holds one set for each answer that the bytes may get;
a shorter list of answers is right where the last one says "Connection: close". `end`:
  CLOSE   framing is lost: the last answer says close, and nothing behind it is executed;
  KEEP    the bytes are legal: the next request is answered, too;
  EITHER  both readings are allowed by the RFC; but the bytes must not be read half one way, half the other.
"""

from typing import NamedTuple

CLOSE, KEEP, EITHER = "close", "keep", "either"
BAD = frozenset({400})
OK = frozenset({200})
BODY = b'{"prompt":"x"}'
N = b"%d" % len(BODY)


class Case(NamedTuple):
    name: str
    data: bytes
    want: tuple
    end: str


CASES = []


def add(name, data, *want, end=CLOSE):
    CASES.append(Case(name, data, want or (BAD,), end))


def legal(name, data, *want):
    add(name, data, *(want or (OK,)), end=KEEP)


def either(name, data, *want):
    add(name, data, *(want or (frozenset({200, 400}),)), end=EITHER)


def line(first, *want, end=CLOSE):
    """A request line with a good rest."""
    add("line " + ascii(first.decode("latin-1")), first + b"\r\nHost: x\r\n\r\n", *want, end=end)


def field(raw, *want, end=CLOSE):
    """One header line (its own CR LF included or wrong) within a good GET."""
    add(
        "field " + ascii(raw.decode("latin-1"))[:60],
        b"GET /version HTTP/1.1\r\nHost: x\r\n" + raw + b"Accept: a\r\n\r\n",
        *want,
        end=end,
    )


def post(name, fields, body, *want, end=CLOSE):
    add(
        name,
        b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + fields + b"\r\n" + body,
        *want,
        end=end,
    )


def length(value, *want, body=BODY, end=CLOSE):
    post("length " + ascii(value.decode("latin-1"))[:50], b"Content-Length:" + value + b"\r\n", body, *want, end=end)


def coding(raw, *want, end=CLOSE, version=b"1.1"):
    """Transfer-Encoding lines in front of a good chunked body."""
    data = (
        b"POST /tokenize HTTP/"
        + version
        + b"\r\nHost: x\r\nContent-Type: application/json\r\n"
        + raw
        + b"\r\n"
        + good_chunks()
    )
    add("coding " + ascii(raw.decode("latin-1"))[:60] + (" in 1.0" if version == b"1.0" else ""), data, *want, end=end)


def good_chunks():
    return b"5\r\n" + BODY[:5] + b"\r\n9\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"


def chunked(name, body, *want, end=CLOSE):
    post("chunks: " + name, b"Transfer-Encoding: chunked\r\n", body, *want, end=end)


def request_lines():
    for first in (
        b"GET  /version HTTP/1.1",
        b"GET /version  HTTP/1.1",
        b" GET /version HTTP/1.1",
        b"GET /version HTTP/1.1 ",
        b"GET\t/version HTTP/1.1",
        b"GET /version\tHTTP/1.1",
        b"GET /version",
        b"GET",
        b"/version HTTP/1.1",
        b"GET HTTP/1.1",
        b"G\x00ET /version HTTP/1.1",
        b"GE\x7fT /version HTTP/1.1",
        b"G(T /version HTTP/1.1",
        b"GET: /version HTTP/1.1",
        b"GE\xc3T /version HTTP/1.1",
        b"GET /ver\x00sion HTTP/1.1",
        b"GET /ver\x7fsion HTTP/1.1",
        b"GET /ver\x01sion HTTP/1.1",
        b"GET /version\r HTTP/1.1",
        b"GET /version http/1.1",
        b"GET /version HTTP/1",
        b"GET /version HTTP/1.",
        b"GET /version HTTP/11",
        b"GET /version HTTP/1.1.1",
        b"GET /version HTTP/1.10",
        b"GET /version HTTP/a.b",
        b"GET /version HTTP /1.1",
        b"GET /version ICAP/1.0",
        b"GET /version HTTPS/1.1",
        b"GET /version HTTP/1.1\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"M" * 100 + b" /version HTTP/1.1",
    ):
        line(first)
    for version in (b"1.2", b"1.9", b"2.0", b"0.9", b"3.0"):
        line(b"GET /version HTTP/" + version, frozenset({505}))
    line(b"GET /" + b"a" * 9000 + b" HTTP/1.1", frozenset({414}))
    line(b"GET /%zz HTTP/1.1", end=EITHER)
    line(b"GET /version%00x HTTP/1.1", end=EITHER)
    line(b"GET version HTTP/1.1", frozenset({400, 404}), end=EITHER)
    line(b"GET * HTTP/1.1", frozenset({400, 404}), end=EITHER)
    line(b"GET /v\xc3\xa9 HTTP/1.1", frozenset({400, 404}), end=EITHER)
    line(b"CONNECT x:80 HTTP/1.1", frozenset({400, 404, 405}), end=EITHER)
    line(b"get /version HTTP/1.1", frozenset({405}), end=KEEP)
    line(b"BREW /version HTTP/1.1", frozenset({405}), end=KEEP)
    line(b"OPTIONSX /version HTTP/1.1", frozenset({405}), end=KEEP)
    line(b"DELETE /version HTTP/1.1", frozenset({405}), end=KEEP)
    line(b"GET http://x/version HTTP/1.1", OK, end=KEEP)
    line(b"GET /version?a=b&%20 HTTP/1.1", OK, end=KEEP)
    line(b"OPTIONS /version HTTP/1.1", OK, end=KEEP)
    add("h2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frozenset({505, 400}))
    add("bare LF after the request line", b"GET /version HTTP/1.1\nHost: x\r\n\r\n")
    add("bare LF everywhere", b"GET /version HTTP/1.1\nHost: x\n\n")
    add("bare CR after the request line", b"GET /version HTTP/1.1\rHost: x\r\n\r\n")
    add("head ends with LF LF", b"GET /version HTTP/1.1\r\nHost: x\n\n")
    add("head ends with CR LF LF", b"GET /version HTTP/1.1\r\nHost: x\r\n\n")
    add("head ends with LF CR LF", b"GET /version HTTP/1.1\r\nHost: x\n\r\n")
    either("one empty line before the request", b"\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n")
    add("bare LF before the request", b"\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n", end=EITHER)
    legal("HTTP/1.0 without Host", b"GET /version HTTP/1.0\r\n\r\n")
    legal("HTTP/1.0 that keeps", b"GET /version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    add("no Host", b"GET /version HTTP/1.1\r\nAccept: a\r\n\r\n")
    add("two Hosts", b"GET /version HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n")
    add("two Hosts in two spellings", b"GET /version HTTP/1.1\r\nhost: x\r\nHOST: y\r\n\r\n")


def header_fields():
    for raw in (
        b" X: y\r\n",
        b"\tX: y\r\n",
        b"X: y\r\n z\r\n",
        b"X: y\r\n\tz\r\n",
        b"X:\r\n y\r\n",
        b"X : y\r\n",
        b"X\t: y\r\n",
        b": y\r\n",
        b" : y\r\n",
        b"X\r\n",
        b"X y\r\n",
        b"X y: z\r\n",
        b"X(: y\r\n",
        b"X\x00: y\r\n",
        b"X\x7f: y\r\n",
        b"X\xc3: y\r\n",
        b"X\x01: y\r\n",
        b'"X": y\r\n',
        b"X/y: z\r\n",
        b"X@: z\r\n",
        b"X: a\x00b\r\n",
        b"X: a\x01b\r\n",
        b"X: a\x08b\r\n",
        b"X: a\x0bb\r\n",
        b"X: a\x0cb\r\n",
        b"X: a\x1bb\r\n",
        b"X: a\x7fb\r\n",
        b"X: a\rb\r\n",
        b"X: y\r\r\n",
        b"X: y\n",
        b"X: y\n\r\n",
        b"\r: y\r\n",
        b"Authorization: Bearer k\x00z\r\n",
        b"Host : x\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding\x0b: chunked\r\n",
        b"Content-Length\x00: 5\r\n",
        b"\x00\r\n",
        b"=\r\n",
    ):
        field(raw)
    for raw in (
        b"X:\r\n",
        b"X: \t \r\n",
        b"X:y\r\n",
        b"X:\t y \t\r\n",
        b"X: \xc3\xa9\xff\r\n",
        b"X: a:b:c\r\n",
        b"!#$%&'*+-.^_`|~1: y\r\n",
        b'X: "a\\"b"\r\n',
        b"X: y\r\nX: z\r\n",
        b"TE: trailers\r\n",
        b"X-Content-Length: +5\r\n",
        b"Content-Length: 0\r\n",
    ):
        field(raw, OK, end=KEEP)
    field(b"X-A: y\r\n" * 140, frozenset({431}))
    field(b"X: " + b"y" * 40000 + b"\r\n", frozenset({431}))
    field(b"X" * 40000 + b": y\r\n", frozenset({431, 400}))


def lengths():
    for v in (
        b" +%s" % N,
        b" -%s" % N,
        b" 0x%x" % len(BODY),
        b" %s;" % N,
        b" %s," % N,
        b" ,%s" % N,
        b" %s,%s" % (N, N),
        b" %s, %s" % (N, N),
        b" %s, 15" % N,
        b" 1 4",
        b" 1\t4",
        b"",
        b" ",
        b" %s\x00" % N,
        b" 1\x004",
        b" %s\x0b" % N,
        b" 14.0",
        b" 1e1",
        b" 1_4",
        b" \xd9\xa1\xd9\xa4",
        b" chunked",
        b' "14"',
        b" 14 bytes",
        b" --14",
        b" 14\r",
    ):
        length(v)
    big = frozenset({400, 413})
    for v in (
        b" 99999999",
        b" 9223372036854775807",
        b" 9223372036854775808",
        b" 18446744073709551615",
        b" 18446744073709551630",
        b" 340282366920938463463374607431768211470",
        b" " + b"9" * 200,
    ):
        length(v, big)
    for v in (N, b"\t" + N, b"  " + N + b" ", b" 000" + N):
        length(v, OK, end=KEEP)
    length(b" " + N + b" \t", frozenset({200, 400}), end=EITHER)  # legal; some parsers know only spaces
    length(b" " + b"0" * 40 + N, frozenset({200, 400, 413}), end=EITHER)
    cl, te = b"Content-Length: " + N + b"\r\n", b"Transfer-Encoding: chunked\r\n"
    post("two equal lengths", cl + cl, BODY)
    post("two lengths", cl + b"Content-Length: 3\r\n", BODY)
    post("two lengths in two spellings", cl + b"CONTENT-LENGTH: 3\r\n", BODY)
    post("a length and chunked", cl + te, good_chunks())
    post("chunked and a length", te + cl, good_chunks())
    post("chunked and length 0", te + b"Content-Length: 0\r\n", good_chunks())
    post("a length and identity", cl + b"Transfer-Encoding: identity\r\n", BODY)
    post("a length shorter than the body", b"Content-Length: 5\r\n", BODY, BAD, BAD)
    post("garbage behind the body", cl, BODY + b"xyz\r\n\r\n", OK, BAD)
    post("a NUL behind the body", cl, BODY + b"\x00", OK, BAD)
    post("an empty line behind the body", cl, BODY + b"\r\n", frozenset({200, 400}), BAD, end=EITHER)
    post("a second body behind the body", cl, BODY + BODY, OK, BAD)
    add(
        "a body nobody announced",
        b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n" + BODY,
        BAD,
        BAD,
    )
    legal("GET with a body", b"GET /version HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    legal(
        "GET with a chunked body",
        b"GET /version HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    add(
        "unknown path with a body that is a request",
        b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n",
        frozenset({404}),
        end=EITHER,
    )


def codings():
    for raw in (
        b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunkedx\r\n",
        b'Transfer-Encoding: "chunked"\r\n',
        b"Transfer-Encoding: chunk\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding: chunked\x00\r\n",
        b"Transfer-Encoding: chun\x00ked\r\n",
        b"Transfer-Encoding: chunked,\r\n",
        b"Transfer-Encoding: ,chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: \xffchunked\r\n",
    ):
        coding(raw)
    coding(b"Transfer-Encoding: chunked\r\n", version=b"1.0")
    for raw in (
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: Chunked\r\n",
        b"TRANSFER-ENCODING:CHUNKED\r\n",
        b"Transfer-Encoding:   chunked  \r\n",
    ):
        coding(raw, OK, end=KEEP)
    coding(b"Transfer-Encoding: \t chunked \t\r\n", frozenset({200, 400}), end=EITHER)


def chunk_bodies():
    b, end = b"e\r\n" + BODY + b"\r\n", b"0\r\n\r\n"
    for name, body in (
        ("bare LF after a size", b"e\n" + BODY + b"\r\n" + end),
        ("bare LF after the data", b"e\r\n" + BODY + b"\n" + end),
        ("bare LF after the last size", b + b"0\n\r\n"),
        ("bare LF at the end", b + b"0\r\n\n"),
        ("LF LF at the end", b + b"0\n\n"),
        ("bare CR after a size", b"e\r" + BODY + b"\r\n" + end),
        ("bare CR after the data", b"e\r\n" + BODY + b"\r" + end),
        ("size with 0x", b"0xe\r\n" + BODY + b"\r\n" + end),
        ("size with +", b"+e\r\n" + BODY + b"\r\n" + end),
        ("size with -", b"-e\r\n" + BODY + b"\r\n" + end),
        ("a space before the size", b" e\r\n" + BODY + b"\r\n" + end),
        ("a tab before the size", b"\te\r\n" + BODY + b"\r\n" + end),
        ("no size", b"\r\n" + BODY + b"\r\n" + end),
        ("size g", b"g\r\n" + BODY + b"\r\n" + end),
        ("size eg", b"eg\r\n" + BODY + b"\r\n" + end),
        ("size e,", b"e,\r\n" + BODY + b"\r\n" + end),
        ("size e.", b"e.0\r\n" + BODY + b"\r\n" + end),
        ("NUL in the size", b"\x00e\r\n" + BODY + b"\r\n" + end),
        ("NUL after the size", b"e\x00\r\n" + BODY + b"\r\n" + end),
        ("only an extension", b";a\r\n" + BODY + b"\r\n" + end),
        ("size too small", b"d\r\n" + BODY + b"\r\n" + end),
        ("size too large", b"f\r\n" + BODY + b"\r\n" + end),
        ("no CR LF after the data", b"e\r\n" + BODY + end),
        ("CR CR LF after the data", b"e\r\n" + BODY + b"\r\r\n" + end),
        ("spaces after the data", b"e\r\n" + BODY + b" \r\n" + end),
        ("no CR LF at the end", b + b"0\r\n"),
        ("last size is -0", b + b"-0\r\n\r\n"),
        ("last size is 0x0", b + b"0x0\r\n\r\n"),
        ("bare CR in an extension", b"e;a\rb\r\n" + BODY + b"\r\n" + end),
        ("bare LF in an extension", b"e;a\nb\r\n" + BODY + b"\r\n" + end),
        ("bare CR in the last extension", b + b"0;a\rb\r\n\r\n"),
        ("bare LF ends an extension", b"e;a=b\n" + BODY + b"\r\n" + end),
        ("NUL in an extension", b"e;a\x00\r\n" + BODY + b"\r\n" + end),
        ("DEL in an extension", b"e;a\x7f\r\n" + BODY + b"\r\n" + end),
        ("CR LF in a quoted extension", b'e;a="\r\n"\r\n' + BODY + b"\r\n" + end),
        ("bare LF in a trailer", b + b"0\r\nX: y\n\r\n"),
        ("LF ends the trailers", b + b"0\r\nX: y\r\n\n"),
        ("bare CR in a trailer", b + b"0\r\nX: a\rb\r\n\r\n"),
        ("NUL in a trailer", b + b"0\r\nX: a\x00b\r\n\r\n"),
        ("DEL in a trailer", b + b"0\r\nX: a\x7fb\r\n\r\n"),
        ("a trailer without colon", b + b"0\r\nX\r\n\r\n"),
        ("a trailer without name", b + b"0\r\n: y\r\n\r\n"),
        ("a space before a trailer's colon", b + b"0\r\nX : y\r\n\r\n"),
        ("a folded trailer", b + b"0\r\nX: y\r\n z\r\n\r\n"),
        ("a request as trailer", b + b"0\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a space before the end", b + b"0\r\n \r\n\r\n"),
        ("CR CR LF at the end", b + b"0\r\n\r\r\n"),
    ):
        chunked(name, body)
    big = frozenset({400, 413})
    for size in (
        b"10000000000000000e",
        b"ffffffffffffffff",
        b"fffffffffffffffe",
        b"7fffffffffffffff",
        b"8000000000000000",
        b"100000000e",
        b"f" * 40,
    ):
        chunked("size " + size.decode(), size + b"\r\n" + BODY + b"\r\n" + end, big)
    chunked("an endless extension", b"e;" + b"a" * 70000 + b"\r\n" + BODY + b"\r\n" + end, frozenset({400, 413, 431}))
    chunked("endless trailers", b + b"0\r\n" + b"X: y\r\n" * 20000 + b"\r\n", frozenset({400, 413, 431}))
    chunked("one endless trailer", b + b"0\r\nX: " + b"y" * 70000 + b"\r\n\r\n", frozenset({400, 413, 431}))
    for name, body in (
        ("one chunk", b + end),
        ("one byte each", b"".join(b"1\r\n%c\r\n" % c for c in BODY) + end),
        ("size E", b"E\r\n" + BODY + b"\r\n" + end),
        ("size 00e", b"00e\r\n" + BODY + b"\r\n" + end),
        ("last size 000", b + b"000\r\n\r\n"),
        ("an extension", b"e;a=b\r\n" + BODY + b"\r\n" + end),
        ("extensions", b"e;a;b=c\r\n" + BODY + b"\r\n" + end),
        ("a quoted extension", b'e;a="b;c d"\r\n' + BODY + b"\r\n" + end),
        ("an extension of the last size", b + b"0;a=b\r\n\r\n"),
        ("a trailer", b + b"0\r\nX: y\r\n\r\n"),
        ("two trailers", b + b"0\r\nX:\r\nY: z\r\n\r\n"),
        ("a length as trailer", b + b"0\r\nContent-Length: 99\r\n\r\n"),
        ("a coding as trailer", b + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ):
        chunked(name, body, OK, end=KEEP)
    chunked("a space after the size", b"e \r\n" + BODY + b"\r\n" + end, frozenset({200, 400}), end=EITHER)
    chunked("a space before the extension", b"e ;a\r\n" + BODY + b"\r\n" + end, frozenset({200, 400}), end=EITHER)
    chunked(
        "forty zeros before the size",
        b"0" * 40 + b"e\r\n" + BODY + b"\r\n" + end,
        frozenset({200, 400, 413}),
        end=EITHER,
    )
    chunked("an empty body", end, BAD, end=KEEP)


request_lines()
header_fields()
lengths()
codings()
chunk_bodies()
assert len({c.name for c in CASES}) == len(CASES), "names are unique"
