/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_parts.c - what each handler takes and answers. See openapi_parts.h. The wire tests hold
 * real answers against it, with no other key allowed.
 */
#include "openapi_parts.h"

#include <stddef.h>

const struct openapi_op openapi_ops[] = {
    {.name = "completions",
     .summary = "Continue prompts",
     .request = "CompletionRequest",
     .answer = "Completion",
     .events = "CompletionChunk"},
    {.name = "chat_completions",
     .summary = "Answer a conversation",
     .request = "ChatCompletionRequest",
     .answer = "ChatCompletion",
     .events = "ChatCompletionChunk"},
    {.name = "models", .summary = "The served names", .answer = "ModelList"},
    {.name = "model", .summary = "One served name", .answer = "Model", .may_lack = true},
    {.name = "tokenize",
     .summary = "Text or messages to token ids",
     .request = "TokenizeRequest",
     .answer = "Tokens"},
    {.name = "detokenize",
     .summary = "Token ids to text",
     .request = "DetokenizeRequest",
     .answer = "DetokenizedText",
     .query = "content"},
    {.name = "apply_template",
     .summary = "Messages to the text that the model reads",
     .request = "ApplyTemplateRequest",
     .answer = "RenderedPrompt"},
    {.name = "props", .summary = "What is loaded, under llama.cpp's names", .answer = "Props"},
    {.name = "tokenizer_info",
     .summary = "The tokenizer's configuration; 404 unless tokenizer.info_endpoint is on",
     .answer = "TokenizerInfo",
     .may_lack = true},
    {.name = "health", .summary = "Does the engine work", .answer = "Ok"},
    {.name = "ready", .summary = "Should traffic come here", .answer = "Ok"},
    {.name = "live", .summary = "Should the process be left alone", .answer = "Ok"},
    {.name = "ping", .summary = "Does the engine work", .answer = "Ok"},
    {.name = "metrics", .summary = "Metrics in Prometheus' text form", .type = "text/plain"},
    {.name = "version", .summary = "Version and build", .answer = "Version"},
    {.name = "openapi", .summary = "This description", .answer = "Description"},
    {.name = "docs", .summary = "This description as a page", .type = "text/html"},
};
const int n_openapi_ops = sizeof openapi_ops / sizeof *openapi_ops;

#define REF(name) "{'$ref':'#/components/schemas/" name "'}"
#define OBJECT(required, properties)                                                               \
    "{'type':'object','required':[" required "],'properties':{" properties "}}"
#define LIST(of) "{'type':'array','items':" of "}"
#define STR "{'type':'string'}"
#define INT "{'type':'integer'}"
#define NUM "{'type':'number'}"
#define MAYBE(of) "{'anyOf':[" of ",{'type':'null'}]}"
#define BOOL_OR_NULL "{'type':['boolean','null']}"
#define NULL_ONLY "{'type':'null'}"
#define MODEL_FIELD "'model':{'type':['string','null']}"
#define TEMPLATE_FIELDS                                                                            \
    "'add_generation_prompt':" BOOL_OR_NULL ",'continue_final_message':" BOOL_OR_NULL              \
    ",'chat_template_kwargs':{'type':['object','null']},'tools':{'type':['array','null']}"
/* of an answer to a generation request */
#define HEAD_KEYS "'id','object','created','model','system_fingerprint','choices'"
#define HEAD(kind, choice)                                                                         \
    "'id':" STR ",'object':{'const':'" kind "'},'created':" INT ",'model':" STR                    \
    ",'system_fingerprint':" STR ",'choices':" LIST(choice)
#define IDS "'token_ids':" LIST(INT) ",'prompt_token_ids':" LIST(INT)
#define FINISH "{'enum':['stop','length',null]}"
#define STOP_REASON "{'type':['string','integer','null']}"
#define LOGPROBS(shape) MAYBE(REF(shape))

const struct openapi_shape openapi_shapes[] = {
    {"Messages", "{'type':'array','minItems':1,'maxItems':2048,'items':" REF("Message") "}"},
    {"Message",
     "{'type':'object','required':['role'],'properties':{'role':{'enum':['system','developer',"
     "'user','assistant','tool','function'],'description':'Or another role that the chat template "
     "names.'},'content':{'description':'Null for an assistant only.','anyOf':[{'type':'string'},"
     "{'type':'array','minItems':1,'items':" REF(
         "ContentPart") "},{'type':'null'}]},"
                        "'tool_calls':{'type':['array','null']}},'anyOf':[{'properties':{'role':{'"
                        "const':'assistant'}}"
                        "},{'required':['content'],'properties':{'content':{'anyOf':[{'type':'"
                        "string'},{'type':"
                        "'array','items':{'properties':{'type':{'const':'text'}}}}]}}}]}"},
    {"ContentPart", "{'type':'object','required':['type'],'anyOf':["
                    "{'properties':{'type':{'const':'text'},'text':{'type':'string'}},'required':"
                    "['text']},"
                    "{'properties':{'type':{'const':'refusal'},'refusal':{'type':'string'}},"
                    "'required':['refusal'],'description':'Of an assistant only.'}]}"},
    {"Usage",
     OBJECT("'prompt_tokens','completion_tokens','total_tokens','prompt_tokens_details'",
            "'prompt_tokens':" INT ",'completion_tokens':" INT ",'total_tokens':" INT
            ",'prompt_tokens_details':" OBJECT("'cached_tokens'", "'cached_tokens':" INT))},
    {"CompletionLogprobs",
     OBJECT("'tokens','token_logprobs','top_logprobs','text_offset'",
            "'tokens':" LIST(STR) ",'token_logprobs':" LIST(
                "{'type':['number','null']}") ",'top_logprobs':" LIST("{'type':['object','null'"
                                                                      "],'additionalProperties'"
                                                                      ":" NUM "}") ",'text_offset'"
                                                                                   ":" LIST(INT))},
    {"CompletionChoice", OBJECT("'index','text','logprobs','finish_reason','stop_reason'",
                                "'index':" INT ",'text':" STR ",'logprobs':" LOGPROBS(
                                    "CompletionLogprobs") ",'finish_reason':" FINISH
                                                          ",'stop_reason':" STOP_REASON "," IDS)},
    {"Completion",
     OBJECT(HEAD_KEYS ",'usage'",
            HEAD("text_completion", REF("CompletionChoice")) ",'usage':" REF("Usage"))},
    {"CompletionChunk",
     OBJECT(HEAD_KEYS,
            HEAD("text_completion", REF("CompletionChoice")) ",'usage':" MAYBE(REF("Usage")))},
    {"ChatLogprobs", OBJECT("'content','refusal'",
                            "'content':" LIST(REF("ChatLogprob")) ",'refusal':{'type':'null'}")},
    {"ChatLogprob", OBJECT("'token','logprob','bytes','top_logprobs'",
                           "'token':" STR ",'logprob':" NUM
                           ",'bytes':" LIST(INT) ",'top_logprobs':" LIST(REF("TopLogprob")))},
    {"TopLogprob",
     OBJECT("'token','logprob','bytes'", "'token':" STR ",'logprob':" NUM ",'bytes':" LIST(INT))},
    {"ChatChoice",
     OBJECT(
         "'index','message','logprobs','finish_reason','stop_reason'",
         "'index':" INT ",'message':" OBJECT(
             "'role','content','refusal'",
             "'role':{'const':'assistant'},'content':" STR
             ",'refusal':{'type':'null'}") ",'logprobs':" LOGPROBS("ChatLogprobs") ",'finish_"
                                                                                   "reason'"
                                                                                   ":" FINISH
                                                                                   ",'stop_"
                                                                                   "reason'"
                                                                                   ":" STOP_REASON
                                                                                   "," IDS)},
    {"ChatCompletion",
     OBJECT(HEAD_KEYS ",'usage'",
            HEAD("chat.completion",
                 REF("ChatChoice")) ",'prompt_token_ids':" LIST(INT) ",'usage':" REF("Usage"))},
    {"ChatChunkChoice",
     OBJECT("'index','delta','logprobs','finish_reason'",
            "'index':" INT ",'delta':{'type':'object','properties':{'role':{'const':'assistant'},"
            "'content':" STR "}},'logprobs':" LOGPROBS(
                "ChatLogprobs") ",'finish_reason':" FINISH ",'stop_reason':" STOP_REASON "," IDS)},
    {"ChatCompletionChunk",
     OBJECT(HEAD_KEYS,
            HEAD("chat.completion.chunk", REF("ChatChunkChoice")) ",'prompt_token_ids':" LIST(
                INT) ",'usage':" MAYBE(REF("Usage")))},
    {"Model",
     OBJECT("'id','object','created','owned_by','root','parent','max_model_len','permission'",
            "'id':" STR ",'object':{'const':'model'},'created':" INT ",'owned_by':" STR
            ",'root':" STR ",'parent':{'type':'null'},'max_model_len':{'type':['integer','null']},"
            "'permission':" LIST("{}") ",'generation_defaults':" OBJECT(
                "'temperature','top_p','top_k','min_p','repetition_penalty'",
                "'temperature':" NUM ",'top_p':" NUM ",'top_k':" INT ",'min_p':" NUM
                ",'repetition_penalty':" NUM))},
    {"ModelList",
     OBJECT("'object','data'", "'object':{'const':'list'},'data':" LIST(REF("Model")))},
    {"TokenizeRequest", "{'oneOf':[" REF("TokenizePrompt") "," REF("TokenizeMessages") "," REF(
                            "TokenizeContent") "]}"},
    {"TokenizePrompt",
     OBJECT("'prompt'", MODEL_FIELD ",'prompt':" STR ",'messages':" NULL_ONLY
                                    ",'content':" NULL_ONLY ",'add_special_tokens':" BOOL_OR_NULL
                                    ",'return_token_strs':" BOOL_OR_NULL "," TEMPLATE_FIELDS)},
    {"TokenizeMessages",
     OBJECT("'messages'", MODEL_FIELD
            ",'messages':" REF("Messages") ",'prompt':" NULL_ONLY ",'content':" NULL_ONLY
                                           ",'add_special_tokens':" BOOL_OR_NULL
                                           ",'return_token_strs':" BOOL_OR_NULL
                                           "," TEMPLATE_FIELDS)},
    {"TokenizeContent", OBJECT("'content'", MODEL_FIELD
                               ",'content':" STR ",'prompt':" NULL_ONLY ",'messages':" NULL_ONLY
                               ",'add_special':" BOOL_OR_NULL ",'parse_special':" BOOL_OR_NULL
                               ",'with_pieces':" BOOL_OR_NULL)},
    {"Tokens",
     "{'anyOf':[" OBJECT(
         "'count','max_model_len','tokens','token_strs'",
         "'count':" INT ",'max_model_len':" INT ",'tokens':" LIST(INT) ",'token_strs':" MAYBE(
             LIST(STR))) "," OBJECT("'tokens'",
                                    "'tokens':" LIST(INT)) "," OBJECT("'tokens'",
                                                                      "'tokens':" LIST(
                                                                          REF("TokenPiece"))) "]}"},
    {"TokenPiece",
     OBJECT("'id','piece'", "'id':" INT ",'piece':{'anyOf':[" STR "," LIST(INT) "]}")},
    {"DetokenizeRequest", OBJECT("'tokens'", MODEL_FIELD ",'tokens':" LIST(REF("TokenId")))},
    {"DetokenizedText", "{'anyOf':[" OBJECT("'prompt'", "'prompt':" STR) "," OBJECT(
                            "'content'", "'content':" STR) "]}"},
    {"ApplyTemplateRequest",
     OBJECT("'messages'", MODEL_FIELD ",'messages':" REF("Messages") "," TEMPLATE_FIELDS)},
    {"RenderedPrompt", OBJECT("'prompt'", "'prompt':" STR)},
    {"Props",
     OBJECT("'default_generation_settings','total_slots','model_alias','model_path','modalities',"
            "'chat_template','bos_token','eos_token','build_info'",
            "'default_generation_settings':" OBJECT(
                "'n_ctx','params'",
                "'n_ctx':" INT
                ",'params':{'type':'object'}") ",'total_slots':" INT ",'model_alias':" STR
                                               ",'model_path':" STR ",'modalities':" OBJECT(
                                                   "'vision','audio'",
                                                   "'vision':{'const':false},'audio':{'const':"
                                                   "false}") ",'chat_template':" STR
                                                             ",'bos_token':" STR ",'eos_token':" STR
                                                             ",'build_info':" STR)},
    {"TokenizerInfo", "{'type':'object','required':['tokenizer_class'],'properties':"
                      "{'tokenizer_class':" STR "},'additionalProperties':true}"},
    {"Ok", OBJECT("'status'", "'status':{'const':'ok'}")},
    {"Version", OBJECT("'version','build'", "'version':" STR ",'build':" STR)},
    {"Description", "{'type':'object','required':['openapi','info','paths'],"
                    "'additionalProperties':true}"},
};
const int n_openapi_shapes = sizeof openapi_shapes / sizeof *openapi_shapes;
