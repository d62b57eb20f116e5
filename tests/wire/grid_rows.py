# SPDX-License-Identifier: Apache-2.0
"""The request fields of the two generation endpoints, as the contract has them: where, type, range, examples.

grid_cases.py makes the cases. The expected numbers belong to a server with max_model_len=512 and the tiny model.
"""

import json
from typing import NamedTuple

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
T, C, BOTH = 1, 2, 3
MAX_LEN = 512
TYPE, VALUE, LENGTH, COMBINATION, MISSING, UNBUILT = (
    ("invalid_type",),
    ("invalid_value",),
    ("invalid_length",),
    ("invalid_combination",),
    ("missing_required_parameter",),
    ("unsupported_parameter",),
)
ANY = ()
LONG = ("context_length_exceeded",)

# one of each JSON type, as text
SAMPLES = {
    "int": ["5", "0", "-3"],
    "num": ["0.5", "1e-3", "-2.5"],
    "bool": ["true", "false"],
    "str": ['"s"', '""', '"1"', '"true"', '"null"'],
    "arr": ["[]", "[1]", '["s"]', "[null]", "[[]]", "[true]"],
    "obj": ["{}", '{"a":1}', '{"a":null}'],
}


class Row(NamedTuple):
    name: str
    where: int
    types: str  # of SAMPLES, apart by spaces
    lo: float | None = None
    hi: float | None = None
    good: tuple = ()  # JSON texts
    bad: tuple = ()  # (JSON text, codes, param or None for the field's name)
    also: str = ""  # more members of the body that make the value judgeable
    plain: tuple = ()  # values of the right types that a range does not describe: no more sampled


HUGE = (
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1e19",
    "1e30",
    "1e308",
    "1e999",
    "-1e999",
    "1" + "0" * 400,
)
I63 = 2**63 - 1


def q(text):
    return json.dumps(text)


def bad(codes, *values, param=None):
    return tuple((v, codes, param) for v in values)


ROWS = [
    Row("n", BOTH, "int", 1, 128),
    Row(
        "max_tokens",
        T,
        "int",
        1,
        None,
        ("-1", "511", "2.0"),
        bad(VALUE, "0", "-2", "-100") + bad(LONG, "512", "100000", param="prompt"),
    ),
    Row(
        "max_tokens",
        C,
        "int",
        1,
        None,
        ("-1", "100", "2.0"),
        bad(VALUE, "0", "-2", "-100") + bad(LONG, "512", "100000", param="messages"),
    ),
    Row(
        "max_completion_tokens",
        C,
        "int",
        1,
        None,
        ("1", "100"),
        bad(VALUE, "0", "-2") + bad(LONG, "512", "100000", param="messages"),
    ),
    Row("temperature", BOTH, "int num", 0, 2, ("1e-9", "0.005", "1.999", "2.0", "1e-400")),
    Row("top_p", BOTH, "int num", 0, 1, ("1e-9", "0.999", "1.0")),
    Row("min_p", BOTH, "int num", 0, 1, ("1e-9", "0.999", "1.0")),
    Row("top_k", BOTH, "int", -1, None, ("0", "1", "267", "100000", "9007199254740992", "1.0")),
    Row("presence_penalty", BOTH, "int num", -2, 2, ("0.1", "-1.999")),
    Row("frequency_penalty", BOTH, "int num", -2, 2, ("0.1", "-1.999")),
    Row(
        "repetition_penalty",
        BOTH,
        "int num",
        None,
        10,
        ("1", "1.0", "1.1", "0.01", "10.0"),
        bad(VALUE, "0", "0.0", "-0.1", "-1"),
    ),
    Row(
        "logit_bias",
        BOTH,
        "obj",
        good=("{}", '{"5":1}', '{"0":100,"266":-100}', '{"5":0.5}'),
        bad=bad(VALUE, '{"5":101}', '{"5":-100.5}', '{"5":1e999}', param="logit_bias.5")
        + bad(VALUE, '{"267":1}', param="logit_bias.267")
        + bad(TYPE, '{"5":"1"}', '{"5":true}', '{"5":[]}', '{"5":{}}', param="logit_bias.5")
        + bad(VALUE + TYPE, '{"a":1}', param="logit_bias.a")
        + bad(VALUE + TYPE, '{"-1":1}', param="logit_bias.-1")
        + bad(VALUE + TYPE, '{"5.0":1}', param="logit_bias.5.0")
        + bad(VALUE, '{"99999999999999999999":1}', param="logit_bias.99999999999999999999"),
    ),
    Row(
        "seed",
        BOTH,
        "int",
        None,
        None,
        ("-1", "0", "9007199254740993", "9223372036854775807", "-9223372036854775808", "7.0"),
        bad(VALUE, "9223372036854775808", "-9223372036854775809", "1e30", "1e999"),
    ),
    Row(
        "stop",
        BOTH,
        "str arr",
        good=('"a"', '""', "[]", '["a"]', '["a","b","c","d"]', q("a" * 512), q(["€" * 512])),
        bad=bad(LENGTH, '["a","b","c","d","e"]', q("a" * 513), param="stop")
        + bad(LENGTH, '["a",""]', param="stop[1]")
        + bad(TYPE, '["a",5]', '["a",null]', '["a",["b"]]', '["a",{}]', '["a",true]', param="stop[1]")
        + bad(LENGTH, q(["€" * 513]), param="stop[0]"),
    ),
    Row(
        "stop_token_ids",
        BOTH,
        "arr",
        good=("[]", "[0]", "[266]", "[5.0]", json.dumps([5] * 128)),
        bad=bad(VALUE, "[267]", "[-1]", "[1e30]", "[9223372036854775808]", param="stop_token_ids[0]")
        + bad(LENGTH, json.dumps([5] * 129))
        + bad(TYPE, '["5"]', "[true]", "[0.5]", "[null]", "[[5]]", "[{}]", param="stop_token_ids[0]"),
    ),
    Row(
        "allowed_token_ids",
        BOTH,
        "arr",
        good=("[5]", "[0,266]", "[5.0]"),
        bad=bad(VALUE, "[267]", "[-1]", "[1e30]", param="allowed_token_ids[0]")
        + bad(TYPE, '["5"]', "[true]", "[0.5]", "[null]", "[[5]]", "[{}]", param="allowed_token_ids[0]"),
    ),
    Row("include_stop_str_in_output", BOTH, "bool"),
    Row("ignore_eos", BOTH, "bool"),
    Row("skip_special_tokens", BOTH, "bool"),
    Row("spaces_between_special_tokens", BOTH, "bool"),
    Row("add_special_tokens", BOTH, "bool"),
    Row("return_token_ids", BOTH, "bool"),
    Row("return_tokens_as_token_ids", BOTH, "bool"),
    Row("echo", T, "bool"),
    Row("add_generation_prompt", C, "bool"),
    Row("include_reasoning", C, "bool"),
    Row("logprobs", C, "bool"),
    Row("echo", C, "bool", good=("false",), bad=bad(UNBUILT, "true")),
    Row("use_beam_search", BOTH, "bool", good=("false",), bad=bad(UNBUILT, "true")),
    Row("continue_final_message", C, "bool", good=("false",), bad=bad(ANY, "true")),
    Row("min_tokens", BOTH, "int", 0, 1, ("1.0",)),
    Row("truncate_prompt_tokens", BOTH, "int", None, MAX_LEN, ("-1", "1", "100", "512.0"), bad(VALUE, "0", "-2")),
    Row("prompt_logprobs", BOTH, "int", 0, 20, ("1", "5.0")),
    Row("length_penalty", BOTH, "int num", good=("1", "1.0"), bad=bad(UNBUILT, "1.5", "0.5", "2")),
    Row("user", BOTH, "str", good=('"me"', q("€" * 512)), bad=bad(LENGTH, q("a" * 513), q("€" * 513))),
    Row("request_id", BOTH, "str", good=('"a"', '"a b"', q("a" * 300))),
    Row(
        "cache_salt",
        BOTH,
        "str",
        good=('"a"', q("€" * 128)),
        bad=bad(LENGTH, '""', q("a" * 129), q("€" * 129)) + bad(VALUE, '"a/b"', '"@"', '"a\\\\b"', '"\\u0000"'),
    ),
    Row("priority", BOTH, "int", good=("0", "0.0"), bad=bad(VALUE, "9223372036854775808", "1e30", "1e999")),
    Row("suffix", T, "str", good=('""',), bad=bad(UNBUILT, '"x"')),
    Row("best_of", T, "int", 0, 20, ("1", "2", "3.0")),
    Row("logprobs", T, "int", 0, 20, ("1", "5.0")),
    Row("top_logprobs", C, "int", 0, 20, ("1", "5.0"), also='"logprobs":true'),
    Row("top_logprobs", C, "int", good=("0",), bad=bad(COMBINATION, "1", "20")),
    Row("chat_template_kwargs", C, "obj", good=("{}", '{"enable_thinking":false}', '{"a":[1,{"b":null}]}')),
    Row(
        "reasoning_effort",
        C,
        "str",
        good=tuple(map(q, "none minimal low medium high xhigh max".split())),
        bad=bad(VALUE, '"much"', '""', '"LOW"', '"low "'),
    ),
    Row("model", BOTH, "str", good=('""', '"tiny"')),
    Row(
        "response_format",
        BOTH,
        "obj",
        good=('{"type":"text"}', '{"type":"text","x":1}'),
        bad=bad(MISSING, "{}", param="response_format.type")
        + bad(TYPE, '{"type":5}', '{"type":[]}', '{"type":true}', param="response_format.type")
        + bad(ANY, '{"type":"nope"}'),
    ),
    Row("tools", C, "arr", bad=bad(LENGTH, "[]")),
    Row("tool_choice", C, "int num bool str arr obj", good=('"none"',), bad=bad(COMBINATION, '"auto"', '"required"')),
]
# anything but null is refused by name, whatever it is
REFUSED = {
    BOTH: "kv_transfer_params vllm_xargs lora_path prompt_embeds logprob_token_ids audio web_search_options functions".split(),
    C: ["chat_template", "documents"],
}
# no value of these types can be right, now or when they are built
WRONG_EVER = {
    "structured_outputs": ["1", "true", "0.5"],
    "guided_json": ["1", "true"],
    "guided_regex": ["1", "true", "[]"],
    "guided_choice": ["1", "true", '"s"'],
    "guided_grammar": ["1", "true", "[]"],
    "grammar": ["1", "true", "[]"],
    "regex": ["1", "true", "[]"],
    "ebnf": ["1", "true", "[]"],
    "json_schema": ["1", "true", "[]"],
    "bad_words": ["1", "true", '"s"', "{}"],
    "mirostat": ["1", "2"],
    "typical_p": ["0.5"],
    "xtc_probability": ["0.5"],
    "dry_multiplier": ["0.8"],
    "tfs_z": ["0.5"],
    "dynatemp_range": ["0.5"],
}
NO_EFFECT = (
    "service_tier store metadata safety_identifier prompt_cache_key prompt_cache_retention prompt_cache_options verbosity prediction "
    "parallel_tool_calls session_id rid"
).split()
UNKNOWN = (
    "quite_unknown Temperature TEMPERATURE max_token max-tokens top_kk nn stream_option prompts message logit_biases seeds _ a.b a[0] "
    "ключ \\u0000 \\ud83d\\ude00 " + "x" * 300
).split()
