/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_parts.c - what each handler takes and answers. See openapi_parts.h. The wire tests hold
 * real answers against it, with no other key allowed.
 */
#include "openapi_parts.h"

#include "genreq.h"

const struct openapi_request openapi_requests[] = {
    {"CompletionRequest", &dialect_text},    {"ChatCompletionRequest", &dialect_chat},
    {"ResponseRequest", &dialect_responses}, {"MessageRequest", &dialect_messages},
    {"CountRequest", &dialect_count},        {"EmbeddingRequest", &dialect_embed}};
const int n_openapi_requests = sizeof openapi_requests / sizeof *openapi_requests;

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
    {.name = "responses",
     .summary = "Answer a conversation; nothing is stored",
     .request = "ResponseRequest",
     .answer = "Response",
     .events = "ResponseEvent"},
    {.name = "messages",
     .summary = "Answer a conversation, in Anthropic's shape",
     .request = "MessageRequest",
     .answer = "MessageAnswer",
     .events = "MessageEvent",
     .error = "MessageError"},
    {.name = "count_tokens",
     .summary = "Tokens of a conversation, in Anthropic's shape",
     .request = "CountRequest",
     .answer = "TokenCount",
     .error = "MessageError"},
    {.name = "embeddings",
     .summary = "Texts to vectors",
     .request = "EmbeddingRequest",
     .answer = "EmbeddingList"},
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
#define PROMPT_LOGPROBS                                                                            \
    "'prompt_logprobs':{'type':['array','null'],'items':{'type':['object','null'],"                \
    "'additionalProperties':" REF("PromptLogprob") "}}"
#define IDS "'token_ids':" LIST(INT) ",'prompt_token_ids':" LIST(INT) "," PROMPT_LOGPROBS
#define FINISH "{'enum':['stop','length',null]}"
#define STOP_REASON "{'type':['string','integer','null']}"
#define LOGPROBS(shape) MAYBE(REF(shape))

/* clang-format off */
const struct openapi_shape openapi_shapes[] = {
    {"Messages", "{'type':'array','minItems':1,'maxItems':2048,'items':" REF("Message") "}"},
    {"Message", "{'type':'object','required':['role'],'properties':{'role':{'enum':['system','developer','user','assistant','tool','function'],'description':'Or another role that the chat template names.'},'content':{'description':'Null for an assistant only.','anyOf':[{'type':'string'},{'type':'array','minItems':1,'items':" REF(
            "ContentPart") "},{'type':'null'}]},'tool_calls':{'type':['array','null']}},'anyOf':[{'properties':{'role':{'const':'assistant'}}},{'required':['content'],'properties':{'content':{'anyOf':[{'type':'string'},{'type':'array','items':{'properties':{'type':{'const':'text'}}}}]}}}]}"},
    {"ContentPart", "{'type':'object','required':['type'],'anyOf':[{'properties':{'type':{'const':'text'},'text':{'type':'string'}},'required':['text']},{'properties':{'type':{'const':'refusal'},'refusal':{'type':'string'}},'required':['refusal'],'description':'Of an assistant only.'}]}"},
    {"Usage",
     OBJECT("'prompt_tokens','completion_tokens','total_tokens','prompt_tokens_details'",
            "'prompt_tokens':" INT ",'completion_tokens':" INT ",'total_tokens':" INT
            ",'prompt_tokens_details':" OBJECT("'cached_tokens'", "'cached_tokens':" INT))},
    {"CompletionLogprobs",
     OBJECT("'tokens','token_logprobs','top_logprobs','text_offset'",
            "'tokens':" LIST(STR) ",'token_logprobs':" LIST(
            "{'type':['number','null']}") ",'top_logprobs':" LIST("{'type':['object','null'],'additionalProperties':" NUM "}") ",'text_offset':" LIST(INT))},
    {"CompletionChoice",
     OBJECT("'index','text','logprobs','finish_reason','stop_reason'",
            "'index':" INT ",'text':" STR ",'logprobs':" LOGPROBS(
            "CompletionLogprobs") ",'finish_reason':" FINISH ",'stop_reason':" STOP_REASON
            "," IDS)},
    {"PromptLogprob", OBJECT("'logprob','rank','decoded_token'",
            "'logprob':" NUM ",'rank':" INT ",'decoded_token':" STR)},
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
            ",'refusal':{'type':'null'}") ",'logprobs':" LOGPROBS("ChatLogprobs") ",'finish_reason':" FINISH ",'stop_reason':" STOP_REASON
            "," IDS)},
    {"ChatCompletion",
     OBJECT(HEAD_KEYS ",'usage'",
            HEAD("chat.completion", REF("ChatChoice")) ",'prompt_token_ids':" LIST(
            INT) "," PROMPT_LOGPROBS ",'usage':" REF("Usage"))},
    {"ChatChunkChoice",
     OBJECT("'index','delta','logprobs','finish_reason'",
            "'index':" INT ",'delta':{'type':'object','properties':{'role':{'const':'assistant'},'content':" STR "}},'logprobs':" LOGPROBS(
            "ChatLogprobs") ",'finish_reason':" FINISH ",'stop_reason':" STOP_REASON "," IDS)},
    {"ChatCompletionChunk",
     OBJECT(HEAD_KEYS,
            HEAD("chat.completion.chunk", REF("ChatChunkChoice")) ",'prompt_token_ids':" LIST(
            INT) ",'usage':" MAYBE(REF("Usage")))},
    {"Model",
     OBJECT("'id','object','created','owned_by','root','parent','max_model_len','permission'",
            "'id':" STR ",'object':{'const':'model'},'created':" INT ",'owned_by':" STR
            ",'root':" STR ",'parent':{'type':'null'},'max_model_len':{'type':['integer','null']},'permission':" LIST("{}") ",'generation_defaults':" OBJECT(
            "'temperature','top_p','top_k','min_p','repetition_penalty'",
            "'temperature':" NUM ",'top_p':" NUM ",'top_k':" INT ",'min_p':" NUM
            ",'repetition_penalty':" NUM))},
    {"ModelList",
     OBJECT("'object','data'", "'object':{'const':'list'},'data':" LIST(REF("Model")))},
    {"ResponseInput", "{'anyOf':[{'type':'string'},{'type':'array','minItems':1,'maxItems':2048,'items':" REF("ResponseItem") "}]}"},
    {"ResponseItem",
     OBJECT("'role','content'", "'type':{'const':'message'},'role':{'enum':['user','assistant','system','developer']},'content':{'anyOf':[{'type':'string'},{'type':'array','minItems':1,'items':" REF("ResponsePart") "}]}")},
    {"ResponsePart",
     "{'type':'object','required':['type'],'anyOf':[{'properties':{'type':{'enum':['input_text','output_text','text']},'text':{'type':'string'}},'required':['text']},{'properties':{'type':{'const':'refusal'},'refusal':{'type':'string'}},'required':['refusal']}]}"},
    {"Response",
     OBJECT("'id','object','created_at','model','status','output','usage','error','incomplete_details'",
            "'id':" STR ",'object':{'const':'response'},'created_at':" INT ",'model':" STR
            ",'completed_at':{'type':['integer','null']},'status':{'enum':['completed','incomplete','failed','in_progress']},'incomplete_details':" MAYBE(OBJECT(
            "'reason'", "'reason':{'const':'max_output_tokens'}")) ",'error':" MAYBE(OBJECT("'code','message'",
            "'code':" STR ",'message':" STR)) ",'output':" LIST(REF("ResponseMessage")) ",'usage':" MAYBE(REF("ResponseUsage")) ",'instructions':{'type':['string','null']},'metadata':{'type':'object','additionalProperties':" STR
            "},'user':{'type':['string','null']},'safety_identifier':{'type':['string','null']},'prompt_cache_key':{'type':['string','null']},'tools':{'type':'array','maxItems':0},'tool_choice':{'enum':['none','auto']},'parallel_tool_calls':{'type':'boolean'},'max_tool_calls':" INT
            ",'max_output_tokens':{'type':['integer','null']},'text':{'type':'object','properties':{'format':{'type':'object'},'verbosity':" STR
            "}},'reasoning':{'type':'object','properties':{'effort':{'type':['string','null']},'summary':{'type':'null'}}},'temperature':" NUM
            ",'top_p':" NUM
            ",'top_logprobs':" INT
            ",'truncation':{'const':'disabled'},'background':{'const':false},'store':{'const':false},'service_tier':{'const':'default'},'previous_response_id':{'type':'null'}")},
    {"ResponseMessage",
     OBJECT("'id','type','role','status','content'",
            "'id':" STR ",'type':{'const':'message'},'role':{'const':'assistant'},'status':" STR
            ",'content':" LIST(OBJECT("'type','text','annotations','logprobs'",
            "'type':{'const':'output_text'},'text':" STR
            ",'annotations':{'type':'array','maxItems':0},'logprobs':{'type':'array','maxItems':0}")))},
    {"ResponseUsage",
     OBJECT("'input_tokens','output_tokens','total_tokens'",
            "'input_tokens':" INT ",'output_tokens':" INT ",'total_tokens':" INT
            ",'input_tokens_details':" OBJECT(
            "'cached_tokens'",
            "'cached_tokens':" INT ",'cache_write_tokens':" INT) ",'output_tokens_details':" OBJECT("'reasoning_tokens'",
            "'reasoning_tokens':" INT))},
    {"ResponseEvent",
     "{'type':'object','required':['type','sequence_number'],'properties':{'type':" STR
     ",'sequence_number':" INT "},'additionalProperties':true}"},
    {"MessageTurns",
     "{'type':'array','minItems':1,'maxItems':2048,'items':" REF("MessageTurn") "}"},
    {"MessageTurn", OBJECT("'role','content'", "'role':{'enum':['user','assistant']},'content':{'anyOf':[{'type':'string'},{'type':'array','items':" REF("TextBlock") "}]}")},
    {"TextBlock", OBJECT("'type','text'", "'type':{'const':'text'},'text':" STR)},
    {"MessageAnswer",
     OBJECT("'id','type','role','model','content','stop_reason','stop_sequence','usage'",
            "'id':" STR ",'type':{'const':'message'},'role':{'const':'assistant'},'model':" STR
            ",'content':" LIST(
            REF("TextBlock")) ",'stop_reason':{'enum':['end_turn','max_tokens','stop_sequence']},'stop_sequence':{'type':['string','null']},'usage':" REF("MessageUsage"))},
    {"MessageUsage",
     OBJECT("'input_tokens','output_tokens'",
            "'input_tokens':" INT ",'output_tokens':" INT ",'cache_creation_input_tokens':" INT
            ",'cache_read_input_tokens':" INT)},
    {"MessageEvent", "{'type':'object','required':['type'],'properties':{'type':{'enum':['message_start','content_block_start','content_block_delta','content_block_stop','message_delta','message_stop','ping','error']}},'additionalProperties':true}"},
    {"MessageError",
     OBJECT("'type','error'",
            "'type':{'const':'error'},'error':" OBJECT(
            "'type','message'", "'type':" STR ",'message':" STR) ",'request_id':" STR)},
    {"TokenCount", OBJECT("'input_tokens'", "'input_tokens':" INT)},
    {"EmbeddingList", OBJECT("'object','data','model','usage'",
            "'object':{'const':'list'},'data':" LIST(REF(
            "Embedding")) ",'model':" STR ",'usage':" REF("EmbeddingUsage"))},
    {"Embedding",
     OBJECT("'object','index','embedding'", "'object':{'const':'embedding'},'index':" INT
            ",'embedding':{'anyOf':[" LIST(NUM) "," STR "]}")},
    {"EmbeddingUsage",
     OBJECT("'prompt_tokens','total_tokens'",
            "'prompt_tokens':" INT ",'total_tokens':" INT
            ",'prompt_tokens_details':" OBJECT("'cached_tokens'", "'cached_tokens':" INT))},
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
     OBJECT("'default_generation_settings','total_slots','model_alias','model_path','modalities','chat_template','bos_token','eos_token','build_info'",
            "'default_generation_settings':" OBJECT(
            "'n_ctx','params'",
            "'n_ctx':" INT
            ",'params':{'type':'object'}") ",'total_slots':" INT ",'model_alias':" STR
            ",'model_path':" STR ",'modalities':" OBJECT(
            "'vision','audio'",
            "'vision':{'const':false},'audio':{'const':false}") ",'chat_template':" STR
            ",'bos_token':" STR ",'eos_token':" STR
            ",'build_info':" STR)},
    {"TokenizerInfo", "{'type':'object','required':['tokenizer_class'],'properties':{'tokenizer_class':" STR "},'additionalProperties':true}"},
    {"Ok", OBJECT("'status'", "'status':{'const':'ok'}")},
    {"Version", OBJECT("'version','build'", "'version':" STR ",'build':" STR)},
    {"Description", "{'type':'object','required':['openapi','info','paths'],'additionalProperties':true}"},
};
/* clang-format on */
const int n_openapi_shapes = sizeof openapi_shapes / sizeof *openapi_shapes;
