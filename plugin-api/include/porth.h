/* The border between Porth and a plug-in, for C11 and C++17. Nothing else is needed to write one.
 *
 * It says what the Rust crate `porth-abi` says, and a test compares the two field by field. `porth plugin new --c NAME`
 * makes a whole plug-in to begin with, of any kind; `porth plugin test FILE` tries a library out.
 *
 * CONTENTS, in the order of the file: numbers (codes, answers, flags); data (texts and bytes, requests, responses, futures,
 * streams, calls, endpoints); porth_host, what a plug-in may call; porth_plugin, what a library exports; documents' migrations;
 * hooks, for modules of other kinds; helpers; the note; PORTH_EXPORT_PLUGIN, which stands once at the end of a source file.
 * Read porth_plugin first, then porth_host.
 *
 * LIFE CYCLE
 *
 * 1. The host copies the file, reads its note, and refuses another ABI before anything of it runs.
 * 2. Opened: static constructors run. Do nothing there: it also happens in a process that only tries the library.
 * 3. `load`, once: the library keeps the host's table and says which modules it has.
 * 4. `init`, for each instance: its parameters satisfy the schema; it registers endpoints and metrics. A predecessor of the
 *    same name may still run, in this process or another.
 * 5. Handlers and hooks are called, from many threads at once, from the moment that `init` has returned PORTH_OK.
 * 6. On a reset, another version of the library or a change, the successor is initialised first; new requests go to it, and
 *    those under way end with the old instance.
 * 7. `close`, when no call, no stream and no future of the instance is left. Stop and join its threads there. From its return
 *    on the instance's context answers PORTH_CLOSED. After a crash, and where calls do not end, `close` never comes.
 * 8. `unload`, once, after all instances are closed. The code stays mapped until the process ends.
 *
 * WHICH THREAD
 *
 *   load, unload                             a thread of the host's that may block, within the deadline for life cycles
 *   init, close                              a thread of the instance's own: may block, within the same deadline (30 s)
 *   a handler                                a thread of the instance's own: may block; many at once
 *   a handler with PORTH_ENDPOINT_SHORT      a worker of the host: must not block, well under a millisecond; many at once
 *   poll, poll_next                          a worker: must not block; for each future or stream one thread at a time, not
 *                                            always the same
 *   drop of a future or a stream             as its poll, once, after the last one
 *   drop of a porth_bytes                    any thread, once: must not block
 *   a waker's functions                      any thread
 *   porth_done                               a thread of the host: must not block
 *   hooks, migrate                           a thread of the instance's own: may block; hooks many at once
 *   the functions of porth_host              may be called from any thread, also from those that the plug-in has started;
 *                                            only call_wait blocks, and answers PORTH_WOULD_BLOCK where that must not be
 *
 * WHO OWNS WHAT
 *
 * - Borrowed. porth_str, and whatever a pointer in an argument leads to, is valid until the call returns, unless its
 *   field says more; copy what is needed longer. A request is kept by request_retain, its struct by copying it.
 * - Owned. Whoever made a porth_bytes frees it, through its `drop`; who receives one calls that, once. No allocator ever
 *   crosses.
 * - A porth_host_call is the plug-in's, once its callback has answered PORTH_OK: it is polled and dropped, or given away to
 *   call_wait or call_then, whatever those answer. After any other code there is none.
 * - `state` of a future or a stream is the plug-in's, until the host calls its `drop`.
 * - `instance`, `library` and an endpoint's `user` are the plug-in's; the host only hands them back.
 * - The table porth_host lives as long as the process. Tables that `extension` answers live as long as the library.
 *
 * WHAT AN ERROR LEAVES BEHIND
 *
 * - `load` or `init` failed: nothing. What was registered is taken back, `unload` or `close` is not called, so that the
 *   plug-in frees what it had made. What was written as documents stays.
 * - A handler, future or hook failed: the instance, which is asked again. The host drops what the response owns.
 * - A stream failed: the client sees that the body is not whole.
 * - A callback failed: nothing was changed. After a call that was dropped before its result, nobody knows.
 * - `close` failed or came too late: the instance is left as it is; its successor runs already.
 *
 * RULES THAT HOLD EVERYWHERE
 *
 * - Growth. A struct with a leading `size` may grow, at its end only. `size` is what the side that made the struct knew:
 *   read nothing beyond it, write nothing beyond it.
 * - Text is UTF-8. It has a length and no terminating zero. Structured values are JSON.
 * - Nothing is thrown across: no C++ exception, no longjmp.
 *
 * The ABI is a draft: a host loads plug-ins of its own draft only, until the draft number becomes 0.
 */
#ifndef PORTH_H
#define PORTH_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PORTH_ABI_DRAFT 4
#define PORTH_ABI_MAJOR 1
#define PORTH_ABI_MINOR 0
/* The oldest minor version of a host that a plug-in made with this header can work with. */
#define PORTH_LEAST_HOST_MINOR 0

/* ---- Numbers ------------------------------------------------------------------------------------------------------ */

/* Codes: what callbacks and entry points answer. */
#define PORTH_OK 0
/* It failed for a reason of its own; the detail says which. */
#define PORTH_ERROR 1
/* The caller's credentials do not suffice. Never used for something that does not exist. */
#define PORTH_UNAUTHORIZED 2
/* An argument is wrong; the detail lists what is. */
#define PORTH_PARAM 3
/* The store failed. */
#define PORTH_STORE 4
/* No memory. */
#define PORTH_MEMORY 5
/* What was named does not exist. Never used for missing credentials. */
#define PORTH_NOT_FOUND 6
/* The instance was not granted the right that this needs. */
#define PORTH_DENIED 7
/* A blocking form was called on a thread that must not block. */
#define PORTH_WOULD_BLOCK 8
/* The instance was closed, or the context is none that the host gave out. */
#define PORTH_CLOSED 9
/* This host does not know it. */
#define PORTH_UNSUPPORTED 10
/* Nobody waits any more: a completion came after its request was dropped, or the client of a request has left. */
#define PORTH_CANCELLED 11
/* The version given is not the present one. */
#define PORTH_CONFLICT 12
/* A queue or a quota is full. */
#define PORTH_BUSY 13
/* What was sent is larger than allowed. */
#define PORTH_TOO_LARGE 14

/* Answers: what handlers and futures answer. The two never mix. */
/* The response is filled in. */
#define PORTH_READY 0
/* Not yet. From a handler: there is a future in the response, or it will be completed by token. */
#define PORTH_PENDING 1
/* Not mine; the next handler of this method and path is asked. The response is not looked at. */
#define PORTH_NEXT 2
/* It panicked. For languages that panic. */
#define PORTH_PANIC (-1)
/* It failed and has no response; the client gets 500. */
#define PORTH_FAILED (-2)

/* Levels of a log record, most severe first. */
#define PORTH_LEVEL_ERROR 1u
#define PORTH_LEVEL_WARN 2u
#define PORTH_LEVEL_INFO 3u
#define PORTH_LEVEL_DEBUG 4u
#define PORTH_LEVEL_TRACE 5u

/* Kinds of metrics: a number that only grows, one that goes up and down, durations in seconds in buckets. */
#define PORTH_METRIC_COUNTER 1u
#define PORTH_METRIC_GAUGE 2u
#define PORTH_METRIC_HISTOGRAM 3u

/* Bits of porth_endpoint.flags.
 *
 * The handler never blocks and takes well under a millisecond, so it runs on the host's
 * workers. Without it the handler runs on threads of the instance's own and may block. */
#define PORTH_ENDPOINT_SHORT 1u
/* The handler is called before the request's body has been read, and asks for it with request_body_next. */
#define PORTH_ENDPOINT_STREAM_BODY 2u

/* A bit of porth_stream.flags: the body has no end of its own, as a feed of events; no client takes its end for a sign that it
 * is whole. When the instance is to end and the time for what is under way is over, the host ends such a stream as if its
 * last piece had come. Any other goes on until it ends. */
#define PORTH_STREAM_ENDLESS 1u

/* ---- Data --------------------------------------------------------------------------------------------------------- */

/* Borrowed text or bytes. `ptr` may be NULL when `len` is 0. */
typedef struct porth_str {
    const uint8_t *ptr;
    size_t len;
} porth_str;

/* Bytes with their owner. Whoever receives them calls drop(owner, ptr, len) once, from any thread, when they are no longer
 * needed; `drop` must not block. A NULL `drop` means that they live as long as the library that made them is mapped. */
typedef struct porth_bytes {
    const uint8_t *ptr;
    size_t len;
    void *owner;
    void (*drop)(void *owner, const uint8_t *ptr, size_t len);
} porth_bytes;

/* A header field. The host gives names in lower case, and values without white space around them; a value need not be
 * UTF-8. */
typedef struct porth_header {
    porth_str name;
    porth_str value;
} porth_header;

/* A path parameter (decoded), or a field of a log record. */
typedef struct porth_parameter {
    porth_str name;
    porth_str value;
} porth_parameter;

/* A request. Valid for the call of the handler; see request_retain to keep it longer. */
typedef struct porth_request {
    size_t size;
    /* What the host's functions want as `request`. */
    const void *handle;
    /* As sent. */
    porth_str method;
    /* Below the instance's prefix, with its leading '/', not decoded. */
    porth_str path;
    /* What follows the '?', not decoded; empty without one. */
    porth_str query;
    /* In the order they came. */
    const porth_header *headers;
    size_t headers_len;
    /* In the order of the pattern. */
    const porth_parameter *parameters;
    size_t parameters_len;
    /* The whole body; empty for an endpoint with PORTH_ENDPOINT_STREAM_BODY. */
    porth_str body;
    /* How long the host waits, in milliseconds from the start of the call. */
    uint64_t deadline_ms;
    /* The id that the host's log gives this request. */
    porth_str request_id;
    /* Who calls, as JSON: {"kind": "none" | "key" | "user" | "client", "name": ...}. */
    porth_str caller;
} porth_request;

typedef struct porth_response porth_response;
typedef struct porth_waker porth_waker;

/* How to use the `data` of a waker, from any thread. */
typedef struct porth_waker_table {
    /* A waker of its own for the same task. */
    porth_waker (*clone)(const void *data);
    /* Wakes, and frees `data`. */
    void (*wake)(const void *data);
    /* Wakes, and keeps `data`. */
    void (*wake_by_ref)(const void *data);
    /* Frees `data`. */
    void (*drop)(const void *data);
} porth_waker_table;

/* Tells a task that something it waits for has happened. `table` lives as long as the side that made it. */
struct porth_waker {
    const void *data;
    const porth_waker_table *table;
};

/* A response that is not there yet, made by a handler and driven by the host. */
typedef struct porth_future {
    void *state;
    /* Called by one thread at a time, not always the same, on a worker: it must not block. Answers PORTH_READY with
     * `response` filled in, PORTH_PENDING after keeping a clone of `waker`, PORTH_NEXT, or an error; not called again
     * after anything but PORTH_PENDING. `waker` is borrowed for the call. */
    int32_t (*poll)(void *state, const porth_waker *waker, porth_response *response);
    /* Called exactly once, after the last poll. Before PORTH_READY it means that the request was cancelled. */
    void (*drop)(void *state);
} porth_future;

/* A body in pieces, made by a plug-in and pulled by the host as fast as the client reads. */
typedef struct porth_stream {
    void *state;
    /* Called by one thread at a time, not always the same, on a worker: it must not block. Answers PORTH_READY with the next
     * bytes in `chunk`, which the host drops; PORTH_READY with an empty chunk is the end. PORTH_PENDING after keeping a clone
     * of `waker`. Anything else breaks the body off: the client sees that it is not whole, and with PORTH_FAILED `chunk` may
     * be a text that says why, for the log. Not called again after the end or a break. `waker` is borrowed for the call. */
    int32_t (*poll_next)(void *state, const porth_waker *waker, porth_bytes *chunk);
    /* Called exactly once, after the last poll_next and before the instance's `close`. Before the end it means that the
     * client left, or that an endless stream is ended. */
    void (*drop)(void *state);
    /* PORTH_STREAM_ENDLESS, or 0. */
    uint64_t flags;
} porth_stream;

/* What a handler answers. The host hands in one whose `size` is its own and whose other fields are empty. The fields are
 * looked at when the handler or future answers PORTH_READY. */
struct porth_response {
    size_t size;
    /* 200 to 999. */
    uint32_t status;
    uint32_t headers_len;
    /* May be NULL when there are none. `content-length`, `transfer-encoding`, `connection`, `keep-alive`, `te`, `trailer`
     * and `upgrade` belong to the host: a response with one of them, or with a malformed field, is answered 502. So is one
     * with a body and a stream. */
    const porth_header *headers;
    /* Owns what `headers` points to; the host drops it once it has read them. */
    porth_bytes header_owner;
    /* The host drops it once it is sent. */
    porth_bytes body;
    /* With PORTH_PENDING from a handler: what the host polls. Without a `poll` the handler completes by token. */
    porth_future future;
    /* The body in pieces, when it has a `poll_next`: sent without `content-length`. The host drops it unused when there is no
     * body to send: for HEAD, and with status 204, 205 or 304. */
    porth_stream stream;
};

/* A callback's result that is not there yet. Use it in one of three ways, once: poll it and drop it; give it to call_wait,
 * which blocks; or to call_then, which calls back. The last two take it over. */
typedef struct porth_host_call {
    void *state;
    /* Answers PORTH_READY with the callback's code in `code` and its result (or on failure the detail) in `result`, or
     * PORTH_PENDING after keeping a clone of `waker`. */
    int32_t (*poll)(void *state, const porth_waker *waker, int32_t *code, porth_bytes *result);
    /* Called exactly once. Before PORTH_READY it cancels the wait, not what the store was already given. */
    void (*drop)(void *state);
} porth_host_call;

/* Answers a request: called by the host for each request of an endpoint, concurrently from many threads. `user` is the
 * endpoint's. Not called before `init` has returned nor after `close` was called. Answers PORTH_READY, PORTH_PENDING,
 * PORTH_NEXT or an error. */
typedef int32_t (*porth_handler)(void *user, const porth_request *request, porth_response *response);

/* An endpoint to register; borrowed for the call of add_endpoint. */
typedef struct porth_endpoint {
    size_t size;
    /* A method, or "*" for any. */
    porth_str method;
    /* The pattern below the instance's prefix, with its leading '/': "/hello/{name}", "/files/{*rest}". */
    porth_str path;
    /* Several handlers of one method and path are asked by priority, lower first, equal ones in the order of their
     * registration. */
    uint32_t priority;
    /* PORTH_ENDPOINT_SHORT and PORTH_ENDPOINT_STREAM_BODY, or 0. */
    uint32_t flags;
    /* Who may call: "none", "session", "scope:<name>", "admin" or "client". Empty means "admin". */
    porth_str auth;
    /* The largest request body in bytes; 0 means the host's default (1 MiB), UINT64_MAX no limit. */
    uint64_t body_bytes_max;
    /* How long the host waits for the response, in milliseconds; 0 means the host's default (30 s). */
    uint64_t deadline_ms;
    porth_handler handler;
    /* What the handler gets as `user`; must stay valid until `close` returns. */
    void *user;
} porth_endpoint;

/* A line for the host's log; borrowed for the call of log. */
typedef struct porth_log_record {
    size_t size;
    /* One of the PORTH_LEVEL_ numbers; anything else counts as PORTH_LEVEL_ERROR. */
    uint32_t level;
    /* The line in `file`; 0 when unknown. */
    uint32_t line;
    /* Which part of the plug-in speaks. */
    porth_str target;
    porth_str message;
    /* The source file; empty when unknown. */
    porth_str file;
    /* Further fields. */
    const porth_parameter *fields;
    size_t fields_len;
} porth_log_record;

/* What call_then calls when the result is there: once, on a thread of the host, which it must not block. `code` is the
 * callback's; `result` (or on failure the detail) is the callee's to drop. */
typedef void (*porth_done)(void *user, int32_t code, porth_bytes result);

/* A callback whose arguments are a JSON object, borrowed for this call, and whose result is JSON. An argument that is null is
 * as good as left out. What is wrong with arguments is in the call's result, with PORTH_PARAM; a right that lacks is answered
 * at once, with PORTH_DENIED. */
typedef int32_t (*porth_question)(uint64_t context, porth_str arguments, porth_host_call *call);

/* The host's functions, given to `load`; the table lives as long as the process.
 *
 * `context` is the library's (from `load`) or an instance's (from `init`). After `close` an instance's context answers
 * PORTH_CLOSED. Unless an entry says otherwise it may be called from any thread at any time, does not block, and answers a
 * code. A `detail` or `result` that a function fills in is the caller's to drop, whatever the code. */
typedef struct porth_host {
    size_t size;
    uint32_t abi_draft;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t reserved;
    /* The least severe level that is logged now. It may change at any time: read it atomically (porth_log does). */
    const uint32_t *max_log_level;
    /* Writes a line to the host's log. */
    void (*log)(uint64_t context, const porth_log_record *record);
    /* Makes a metric of the instance, or finds it: `id` is what the two functions below want. `name` is letters, digits and
     * '_'; the host shows it as porth_plugin_<module>_<name> with the label "instance". `kind` is one of the PORTH_METRIC_
     * numbers, `help` a sentence. PORTH_PARAM with a detail (text) for what is wrong with it or when the name has another
     * kind already, PORTH_BUSY when there are too many. */
    int32_t (*metric_add)(uint64_t context, porth_str name, uint32_t kind, porth_str help, uint32_t *id,
                          porth_bytes *detail);
    /* Adds to a counter, which cannot shrink, or to a gauge. `labels` are at most 8 pairs of a name and a value, of which
     * there should be few; each set of them is a series of its own. PORTH_PARAM for what is wrong with them or the number,
     * PORTH_BUSY when the instance has too many series. */
    int32_t (*metric_increment)(uint64_t context, uint32_t id, const porth_parameter *labels, size_t labels_len,
                                double value);
    /* Records a duration in seconds in a histogram, or sets a gauge. Otherwise as the one before. */
    int32_t (*metric_observe)(uint64_t context, uint32_t id, const porth_parameter *labels, size_t labels_len,
                              double value);
    /* Registers an endpoint at /api/<instance>/<path>; in `init` only. PORTH_PARAM with a detail (text) for a bad method,
     * pattern or auth, for the same handler and user twice on a route, or for a path that leaves the prefix. */
    int32_t (*add_endpoint)(uint64_t context, const porth_endpoint *endpoint, porth_bytes *detail);
    /* Takes back all handlers of a method and pattern; in `init` only. PORTH_NOT_FOUND if the instance registered none. */
    int32_t (*remove_endpoint)(uint64_t context, porth_str method, porth_str path);
    /* Keeps a request alive past its call, until as many request_release. Everything that the request's fields point to
     * stays where it is; the struct itself may end with the call, so copy it. */
    void (*request_retain)(const void *request);
    /* Gives back one retained reference; afterwards nothing of the request may be used. */
    void (*request_release)(const void *request);
    /* Before answering PORTH_PENDING without a future: the token to complete the request with. 0 for a request that has one
     * already or cannot have one. In the handler only. */
    uint64_t (*request_token)(uint64_t context, const void *request);
    /* The next piece of a request's body, as the client sends it; an empty result is the end. For a request that the plug-in
     * was lent or has retained, from any thread, one call at a time: PORTH_BUSY while another is under way. A call that is
     * dropped before PORTH_READY loses nothing. An endpoint without PORTH_ENDPOINT_STREAM_BODY gets its body in one piece.
     * The call's code: PORTH_TOO_LARGE when the body is larger than the endpoint's `body_bytes_max` (the client gets 413 if
     * nothing was answered yet); PORTH_CANCELLED when the client left, sent something malformed, or was answered. */
    int32_t (*request_body_next)(uint64_t context, const void *request, porth_host_call *call);
    /* Answers a pending request, exactly once for each token. Takes over all that `response` owns, whatever it answers.
     * `answer` is PORTH_READY or an error. PORTH_CANCELLED when nobody waits any more, PORTH_PARAM for a token that was used
     * or never given out. */
    int32_t (*complete)(uint64_t context, uint64_t token, int32_t answer, porth_response *response);
    /* The session behind the request's cookie: {"session": {"user": {...}, "scope": {...}}}. `scopes` are separated by
     * spaces, or empty. Right "sessions". The call's code: PORTH_NOT_FOUND no such session; PORTH_UNAUTHORIZED no
     * cookie, and then the result is a text; or a scope not satisfied, and then it is {"session": {"user"}, "missing":
     * {scope: what}}, where what is "scope" (the user does not have it, or there is none), "password" or "scheme". It
     * holds a person's name and address: it belongs in no log. */
    int32_t (*check_session_valid)(uint64_t context, const void *request, porth_str scopes, porth_host_call *call);
    /* Counts a use of every proof that these scopes rely on (a scheme's proofs count only so often): {}. Right "sessions".
     * PORTH_NOT_FOUND no such session; PORTH_UNAUTHORIZED no cookie, or a scope that is not satisfied, and then
     * nothing is counted. */
    int32_t (*trigger_session_used)(uint64_t context, const void *request, porth_str scopes, porth_host_call *call);
    /* When the session's user last proved something that one of these scopes asks for: seconds since 1970 as a JSON number,
     * 0 for never. Right "sessions". PORTH_NOT_FOUND no such session; PORTH_UNAUTHORIZED no cookie. */
    int32_t (*get_session_age)(uint64_t context, const void *request, porth_str scopes, porth_host_call *call);
    /* A scheme by the name of its instance: {"module", "name", "display_name", "expiration", "max_use",
     * "allow_user_register", "forbid_user_profile", "forbid_user_reset_credential"}. PORTH_NOT_FOUND for one that there is
     * not or that is disabled. This and the five below need the right "schemes"; where the scheme itself refuses, the code
     * and the detail are its own, where it does not answer, the code is PORTH_ERROR or PORTH_BUSY. */
    int32_t (*get_scheme_module)(uint64_t context, porth_str scheme, porth_host_call *call);
    /* The schemes that a user's scopes name: a list of what get_scheme_module answers, each with "can_use", which is null
     * where it is not known. PORTH_NOT_FOUND for no such user. */
    int32_t (*get_scheme_list)(uint64_t context, porth_str username, porth_host_call *call);
    /* Registers a user with a scheme, or goes a step on: what the scheme answers. `data` is JSON. `request` is the one that it
     * comes of, lent or retained, and tells the scheme address and browser; NULL where there is none. PORTH_NOT_FOUND for no
     * such scheme or user, PORTH_UNSUPPORTED where nobody registers. */
    int32_t (*scheme_register)(uint64_t context, porth_str scheme, const void *request, porth_str username, porth_str data,
                               porth_host_call *call);
    /* What is registered of a user, as the scheme says it. `request` as in the one before. */
    int32_t (*scheme_register_get)(uint64_t context, porth_str scheme, const void *request, porth_str username,
                                   porth_host_call *call);
    /* Makes a scheme forget what a user registered: null, also for nothing. `request` as in the one before. */
    int32_t (*scheme_deregister)(uint64_t context, porth_str scheme, const void *request, porth_str username,
                                 porth_host_call *call);
    /* Whether a user can prove something with a scheme: 0 unavailable, 1 available, 2 registered. */
    int32_t (*scheme_can_use)(uint64_t context, porth_str scheme, porth_str username, porth_host_call *call);
    /* A call that succeeds after `delay_ms` milliseconds. */
    int32_t (*timer)(uint64_t context, uint64_t delay_ms, porth_host_call *call);
    /* The document of a key: {"key", "version", "expires_at_ms", "used_at_ms", "user", "value"}, without those members that
     * it has not. PORTH_NOT_FOUND for none, and for one that has expired.
     *
     * A collection is named [a-z0-9][a-z0-9_-]{0,63}, a key is any text of 1 to 512 bytes without NUL, a value JSON. A
     * version differs with every write of a key, also after it was deleted; times are milliseconds since 1970. What is wrong
     * with an argument is in the call's result, with PORTH_PARAM. */
    int32_t (*document_get)(uint64_t context, porth_str collection, porth_str key, porth_host_call *call);
    /* Writes a document: {"version"}. `options` is empty or {"version", "expires_at_ms", "user"}, all of which may be left
     * out: the version that it must have (0: it must not exist; PORTH_CONFLICT otherwise), when it expires, the user that it
     * goes with. PORTH_BUSY when the instance keeps as much as it may. */
    int32_t (*document_put)(uint64_t context, porth_str collection, porth_str key, porth_str value, porth_str options,
                            porth_host_call *call);
    /* Deletes a document: {}. `options` is empty or {"version"}, the version that it must have, PORTH_CONFLICT otherwise;
     * PORTH_NOT_FOUND for none. */
    int32_t (*document_delete)(uint64_t context, porth_str collection, porth_str key, porth_str options,
                               porth_host_call *call);
    /* Documents of a collection: {"documents": [as document_get], "next"}. `options` is empty or {"field", "equals", "from",
     * "to", "prefix", "after", "limit"}, all of which may be left out. Without `field` they come by key, those that begin
     * with `prefix`; with `field`, a declared index field, by its value and then by key: those whose value is `equals`, or
     * is `from` or more and less than `to`, or begins with `prefix`. `limit` is 1 to 1000 (100), but a page may be shorter;
     * `next`, null at the end, is the next page's `after`. */
    int32_t (*document_list)(uint64_t context, porth_str collection, porth_str options, porth_host_call *call);
    /* Carries out all operations or none: {"versions": [a version for each that puts, null for others]}. `operations` is a
     * list of up to 1000 {"put": {"collection", "key", "value", "version", "expires_at_ms", "user"}} and {"delete":
     * {"collection", "key", "version"}}, as above. Codes as of the two; the detail says which operation failed. */
    int32_t (*document_apply)(uint64_t context, porth_str operations, porth_host_call *call);
    /* Uses a one-time document: {"state": "fresh" | "used" | "expired" | "absent", "document"}, with the document when it is
     * there. Of many calls at once one gets it fresh. It stays where it is, used, until it expires or is deleted. */
    int32_t (*document_consume)(uint64_t context, porth_str collection, porth_str key, porth_host_call *call);
    /* Waits for a call, takes it over, and answers its code. PORTH_WOULD_BLOCK on a host worker or the lifecycle thread: the
     * call is then dropped. */
    int32_t (*call_wait)(uint64_t context, porth_host_call *call, porth_bytes *result);
    /* Lets the host wait for a call, takes it over, and calls `done` exactly once unless it answers anything but
     * PORTH_OK. */
    int32_t (*call_then)(uint64_t context, porth_host_call *call, porth_done done, void *user);
    /* {"version", "generation", "external_url", "api_prefix", "admin_scope", "profile_scope", "session_cookie_name"}. */
    int32_t (*host_info)(uint64_t context, porth_bytes *result);
    /* The URL below which the instance's endpoints lie, as text. */
    int32_t (*get_plugin_external_url)(uint64_t context, porth_bytes *result);
    /* Whether a user may come in: {"username", "password", "scope_list"} -> {"user", "scope_list"}. Without password:
     * PORTH_NOT_FOUND for nobody, PORTH_UNAUTHORIZED for one who is disabled. With it: PORTH_UNAUTHORIZED for whatever is
     * wrong, PORTH_BUSY when too many failed before or too many passwords are being compared; failures count for the
     * lock-out of the name, and of the peer whose request led here; asked from a thread that the plug-in started itself, of
     * the instance. Of the scopes asked for, a list, those come back that the user has and that want no scheme;
     * PORTH_UNAUTHORIZED when some are asked for and none comes back. Right "users:read". */
    porth_question check_user_valid;
    /* Whether a client may come in: {"client_id", "password"} -> {"client"}. PORTH_NOT_FOUND for none; PORTH_UNAUTHORIZED
     * for one that is disabled, and when a password is given that is neither its client_secret nor its password; PORTH_BUSY
     * when too many failed before, which count for the peer or the instance as above, never for the client. Without
     * password nothing was proved: ask so only where the client is not the one who calls. Right "clients:read". */
    porth_question check_client_valid;
    /* What a user granted to a client: {"client_id", "username", "scope_list"} -> {"client": {"client_id", "name"},
     * "scope": [{"name", "display_name", "description", "password_required", "granted"}]}, of those scopes asked for that
     * the user has. PORTH_NOT_FOUND for an unknown client or user, and for a client that is
     * disabled. Right "grants". */
    porth_question get_client_granted_scopes;
    /* Users: {"pattern", "offset", "limit"} -> a list of users, by back end in their order, in the database by
     * name. All may be left out; pattern must occur in the name, the full name or the address; limit is 1 to 200 (100). A
     * user is {"username", "name", "email", "scope", "enabled", "source", and properties}. Right "users:read", as the next
     * three. */
    porth_question get_user_list;
    /* A user as administrators see them: {"username"} -> the user. PORTH_NOT_FOUND for nobody. */
    porth_question get_user;
    /* A user as they see themselves, otherwise as the one before. */
    porth_question get_user_profile;
    /* What is wrong with a user: {"username", "user", "add"} -> a list of texts, empty when nothing is. With "add": true
     * as a user to be added, else as a change of the user of that name. Changes nothing. */
    porth_question is_user_valid;
    /* Adds a user: {"user": {"username", "name", "email", "password", "scope", "enabled", and properties}} -> {}; all but
     * username may be left out. PORTH_PARAM with what is wrong. Right "users:write", as the next three. */
    porth_question add_user;
    /* Changes what is given of a user: {"username", "user"} -> {}. A property that is null is taken away. PORTH_NOT_FOUND
     * for nobody, PORTH_PARAM with what is wrong. */
    porth_question set_user;
    /* Deletes a user with everything that refers to them: {"username"} -> {"failures"}, a list of texts of what did not
     * forget them, empty when all did; they are gone all the same. PORTH_NOT_FOUND for nobody. */
    porth_question delete_user;
    /* Gives a user another password: {"username", "password"} -> {}. PORTH_NOT_FOUND for nobody, PORTH_PARAM for what is
     * no password. */
    porth_question user_update_password;
    /* Clients: as get_user_list. A client is {"client_id", "name", "description", "confidential", "authorization_type",
     * "redirect_uri", "scope", "enabled", "source", and properties}; its secrets are never shown. Right "clients:read", as
     * the next two. */
    porth_question get_client_list;
    /* A client: {"client_id"} -> the client. PORTH_NOT_FOUND for none. */
    porth_question get_client;
    /* What is wrong with a client: {"client_id", "client", "add"} -> a list of texts, as is_user_valid. */
    porth_question is_client_valid;
    /* Adds a client: {"client": {"client_id", ..., "password", "client_secret"}} -> {}; all but client_id may be left out.
     * PORTH_PARAM with what is wrong. Right "clients:write", as the next two. */
    porth_question add_client;
    /* Changes what is given of a client: {"client_id", "client"} -> {}. A secret that is null opens no more.
     * PORTH_NOT_FOUND for none, PORTH_PARAM with what is wrong. */
    porth_question set_client;
    /* Deletes a client with everything that refers to it: {"client_id"} -> {}. PORTH_NOT_FOUND for none. */
    porth_question delete_client;
    /* Registers an endpoint at /.well-known/<name>/<api_prefix>/<instance>, and at /.well-known/<name> while administrators
     * have chosen the instance to be the root issuer; in `init` only. `path` is the name with a leading '/'. Otherwise as
     * add_endpoint; a handler finds the whole path in its request. PORTH_PARAM for a method and name that the instance has
     * registered already. Right "well-known". */
    int32_t (*add_well_known)(uint64_t context, const porth_endpoint *endpoint, porth_bytes *detail);
    /* The page where a user logs in for a client, as text: `arguments` is {"client_id", "scope_list", "callback_url",
     * "parameters"}, all of which may be left out; `parameters` is an object of texts that are added to the query. The page
     * sends nobody to a `callback_url` that is not below the host's external_url. PORTH_PARAM with a detail for what is
     * wrong. */
    int32_t (*get_login_url)(uint64_t context, porth_str arguments, porth_bytes *result);
    /* {TYPE}base64 of any bytes, as text; the administrator chooses the type. For compatibility, never for passwords. */
    int32_t (*generate_hash)(uint64_t context, porth_str data, porth_bytes *result);
    /* A table of further functions by id and revision, such as "porth.example/1", or NULL. */
    const void *(*extension)(uint64_t context, porth_str id);
} porth_host;

/* What an instance is made from; borrowed for the call of `init`. */
typedef struct porth_init_arguments {
    size_t size;
    /* The instance's context: what the host's functions want. */
    uint64_t context;
    /* The module's kind, such as "plugin". */
    porth_str kind;
    /* The module's name. */
    porth_str module;
    /* The instance's name. */
    porth_str name;
    /* A JSON object that satisfies the module's schema. */
    porth_str parameters;
    /* Which loading of the library this is in this process, from 1. */
    uint64_t generation;
} porth_init_arguments;

/* What `init` answers. The host hands in one whose `size` is its own and whose other fields are empty. */
typedef struct porth_init_result {
    size_t size;
    /* With PORTH_OK: what `close` gets. May be NULL. */
    void *instance;
    /* With any other code: a JSON array of texts, each naming one thing that is wrong. The host drops it. */
    porth_bytes errors;
} porth_init_result;

/* What a library exports as PORTH_PLUGIN_V1: see PORTH_EXPORT_PLUGIN.
 *
 * The host calls `load` once; then for each instance `init` and, unless the process ends before, `close`; `unload` after
 * all instances are closed. The code stays mapped. Each may come from another thread than the one before, and `init` and
 * `close` of different instances may run at the same time. */
typedef struct porth_plugin {
    size_t size;
    uint32_t abi_draft;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t reserved;
    /* Says which modules the library has. Also called when a library is only probed: it must be quick, start no thread and
     * touch no file.
     *
     * With PORTH_OK, `library` is what `unload` and `init` get (may be NULL), and `description` a JSON array of
     * {"kind", "name", "display_name", "description", "needs": [rights], "parameters_schema": {JSON Schema}, "documents":
     * {"version", "collections": {NAME: {"index": [fields]}}}}; all but "name" may be left out. With any other code
     * `description` is a text that says why. The host drops it. */
    int32_t (*load)(const porth_host *host, uint64_t context, void **library, porth_bytes *description);
    /* Frees what `load` made. */
    void (*unload)(void *library);
    /* Makes an instance, and registers its endpoints. On a thread of the instance's own: it may block and start threads. A
     * predecessor of the same instance may be running, in this process or another. PORTH_OK, PORTH_PARAM with what is wrong
     * with the parameters, or another code with reasons. After a failure no handler is called and no `close`. */
    int32_t (*init)(void *library, const porth_init_arguments *arguments, porth_init_result *result);
    /* Ends an instance: stops and joins its threads, and frees it. No request is under way. On a thread of the instance's
     * own: it may block. It may never be called: what must last belongs in the host's store. */
    int32_t (*close)(void *instance);
    /* A table of further functions by id and revision, such as "porth.health/1", or NULL. NULL for a library without any. */
    const void *(*extension)(void *library, porth_str id);
} porth_plugin;

/* The extension PORTH_DOCUMENT_MIGRATIONS: how documents of an older version become those of the present one. */
typedef struct porth_document_migrations {
    size_t size;
    /* Works out what brings the documents of an instance from version `from` to the next; called before `init`, for each
     * version below the described one, while a predecessor may be at work. It may block.
     *
     * It reads with `context`, which can read documents, log and wait, and nothing else. With PORTH_OK, `result` is a list
     * of operations as for document_apply, of any length; the host stores them together with the version. It is called again
     * when a document that they name by version has changed meanwhile. With any other code `result` is a text that says why:
     * the instance is not started. The host drops it. */
    int32_t (*migrate)(void *library, uint64_t context, porth_str kind, porth_str module, uint64_t from,
                       porth_bytes *result);
} porth_document_migrations;

#define PORTH_DOCUMENT_MIGRATIONS "porth.document-migrations/1"

/* ---- Hooks: what the host calls in an instance beside its endpoints, in tables by id and revision -------------------- */

/* Every such table is a size and then hooks, nothing else. A hook may be null: then the instance cannot do it.
 *
 * It runs on a thread of the instance's own and may block; the host waits for so long as for an endpoint without a deadline
 * of its own. It may be called from many threads at once, after `init` and before `close`. `instance` is what `init` handed
 * out, `arguments` a JSON object, borrowed for the call; members that a plug-in does not know are to be passed over. With
 * PORTH_OK, `result` is JSON; empty means null. With any other code it is empty or a text for people, which with
 * PORTH_PARAM may be a JSON array of texts, each naming one thing that is wrong. The host drops it. */
typedef int32_t (*porth_hook)(void *instance, porth_str arguments, porth_bytes *result);

/* The extension PORTH_SCHEME: a way to authenticate, which every module of kind `scheme` has.
 *
 * `data` is what a client sent, any JSON; wherever it stands, there is "request", too: {"peer", "user_agent"}, texts that may
 * be empty, or null where a plug-in asks. The username is normalised, and somebody who exists has it. */
typedef struct porth_scheme {
    size_t size;
    /* {"username"}: whether the user can prove something with it: 0 unavailable, 1 available (after a registration),
     * 2 registered. */
    porth_hook can_use;
    /* {"username", "data"}: registers the user with it, or goes a step on, or registers anew; answers what the client gets.
     * PARAM for data that is wrong, UNAUTHORIZED for a user who may not. (`register` itself is a word of C.) */
    porth_hook register_;
    /* {"username"}: what a client gets to know of the user's registration. */
    porth_hook register_get;
    /* {"username"}: forgets the user's registration; OK also if there is none. */
    porth_hook deregister;
    /* {"username", "data"}: begins a proof, as sending a code does; answers what the client gets. The username is null when
     * nobody is told yet, for schemes that `identify`. UNAUTHORIZED for a user who is not registered. */
    porth_hook trigger;
    /* {"username", "data"}: checks a proof. OK, UNAUTHORIZED when it proves nothing, or PARAM when it is none. */
    porth_hook validate;
    /* {"data"}: checks a proof that also says whose it is: {"username"}. UNAUTHORIZED or PARAM as `validate`; null, or
     * UNSUPPORTED, where a username must be known before. */
    porth_hook identify;
} porth_scheme;

#define PORTH_SCHEME "porth.scheme/1"

/* The extension PORTH_USER_BACK_END: people whom others keep, which every module of kind `user` has.
 *
 * A record of a person is a JSON object: `username`, `name`, `email`, `scope` (a list of texts), `enabled`, and whatever else
 * there is. Records that are answered hold no password; `enabled` is true unless it says otherwise. A username that is given
 * is normalised: lower case, Unicode form KC. */
typedef struct porth_user_back_end {
    size_t size;
    /* {"pattern"}: how many people it finds; the empty one finds all. */
    porth_hook count;
    /* {"pattern", "offset", "limit"}: so many of their records, always in the same order. */
    porth_hook list;
    /* {"username", "profile"}: the record of a person, with `profile` true as the person may see it, else as administrators
     * may. NOT_FOUND, or null, for nobody. */
    porth_hook get;
    /* {"user"}: adds a record, which holds `password` where there is to be one. PARAM for one that cannot be; CONFLICT for a
     * name that somebody has. */
    porth_hook add;
    /* {"username", "user"}: replaces a record; without `password` that stays, with null none opens any more. PARAM, or
     * NOT_FOUND. */
    porth_hook set;
    /* {"username"}: deletes a record. NOT_FOUND for nobody. */
    porth_hook delete_;
    /* {"username", "password"}: OK for the right one, else UNAUTHORIZED. Whether the person is enabled is the host's to look
     * at. */
    porth_hook check_password;
    /* {"username", "password"}: replaces a password. PARAM for one that cannot be. */
    porth_hook set_password;
} porth_user_back_end;

#define PORTH_USER_BACK_END "porth.user-backend/1"

/* The extension PORTH_CLIENT_BACK_END: applications that others keep, which every module of kind `client` has.
 *
 * A record of an application is a JSON object: `client_id`, `name`, `description`, `confidential`, `authorization_type`,
 * `redirect_uri` and `scope` (lists of texts), `enabled`, and whatever else there is. Records that are answered hold neither
 * `password` nor `client_secret`. */
typedef struct porth_client_back_end {
    size_t size;
    /* {"pattern"}: how many applications it finds; the empty one finds all. */
    porth_hook count;
    /* {"pattern", "offset", "limit"}: so many of their records, always in the same order. */
    porth_hook list;
    /* {"client_id"}: the record of an application. NOT_FOUND, or null, for none. */
    porth_hook get;
    /* {"client"}: adds a record, which holds `password` or `client_secret` where there is to be one. PARAM for one that cannot
     * be; CONFLICT for a client id that another has. */
    porth_hook add;
    /* {"client_id", "client"}: replaces a record; a secret that is missing stays, one that is null goes. PARAM, or
     * NOT_FOUND. */
    porth_hook set;
    /* {"client_id"}: deletes a record. NOT_FOUND for none. */
    porth_hook delete_;
    /* {"client_id", "secret"}: OK for the right password or client secret, else UNAUTHORIZED. Whether the application is
     * enabled is the host's to look at. */
    porth_hook check_secret;
} porth_client_back_end;

#define PORTH_CLIENT_BACK_END "porth.client-backend/1"

/* The extension PORTH_USER_MIDDLEWARE: changes records of people on their way, whoever keeps them; every module of kind
 * `user_middleware` has it. The name in a record cannot be changed. */
typedef struct porth_user_middleware {
    size_t size;
    /* {"username", "profile", "user"}: the record as it is to be shown, with `profile` true to the person, else to
     * administrators. */
    porth_hook show;
    /* {"username", "user"}: the record as it is to be stored; of a person who is changed it holds only what changes, and null
     * where a property is to go. PARAM for one that must not be stored. */
    porth_hook store;
    /* {"username"}: a person was deleted. */
    porth_hook delete_;
} porth_user_middleware;

#define PORTH_USER_MIDDLEWARE "porth.user-middleware/1"

/* The extension PORTH_USER_REVOKE: for modules of any kind that keep something of people. */
typedef struct porth_user_revoke {
    size_t size;
    /* {"username"}: a person was deleted; whatever was issued to that name must not count any more. It may come for somebody
     * of whom the instance never heard. */
    porth_hook user_revoke;
} porth_user_revoke;

#define PORTH_USER_REVOKE "porth.user-revoke/1"

/* The extension PORTH_HEALTH: for modules of any kind that know how well they do. */
typedef struct porth_health {
    size_t size;
    /* {}: {"status", "reasons"}, with `healthy`, `degraded` (it answers, with less than it should) or `broken` (it cannot do
     * what it is for), and a list of sentences for administrators, which may be empty. Asked from time to time, never twice at
     * once; it should answer what it knows, not find it out. */
    porth_hook health;
} porth_health;

#define PORTH_HEALTH "porth.health/1"

/* The extension PORTH_OPENAPI: for modules of kind `plugin` that say more of their endpoints than the host knows. */
typedef struct porth_openapi {
    size_t size;
    /* {}: a part of an OpenAPI 3.1 document, {"paths", "components"}, with paths as they were registered and operations of
     * endpoints only. References lead to its own components. Asked once somebody looks; the answer counts until the instance is
     * started anew. */
    porth_hook openapi;
} porth_openapi;

#define PORTH_OPENAPI "porth.openapi/1"

/* ---- Helpers: nothing in them is part of the border ---------------------------------------------------------------- */

/* Text with its length. */
static inline porth_str porth_str_of(const void *text, size_t len) {
    porth_str str = {(const uint8_t *)text, len};
    return str;
}

/* A string literal, in an expression. */
#define PORTH_STR(literal) porth_str_of("" literal, sizeof(literal) - 1)
/* A string literal, in the initialiser of something static. */
#define PORTH_STR_INIT(literal) {(const uint8_t *)("" literal), sizeof(literal) - 1}

/* Bytes that live as long as the library. */
static inline porth_bytes porth_bytes_static(porth_str text) {
    porth_bytes bytes = {text.ptr, text.len, NULL, NULL};
    return bytes;
}

static inline void porth_drop_malloc(void *owner, const uint8_t *ptr, size_t len) {
    (void)ptr;
    (void)len;
    free(owner);
}

/* Hands over memory that came from malloc: whoever receives it has it freed. */
static inline porth_bytes porth_bytes_malloc(char *text, size_t len) {
    porth_bytes bytes = {(const uint8_t *)text, len, text, porth_drop_malloc};
    return bytes;
}

/* Frees bytes that the host has filled in. */
static inline void porth_bytes_drop(porth_bytes bytes) {
    if (bytes.drop != NULL) {
        bytes.drop(bytes.owner, bytes.ptr, bytes.len);
    }
}

/* A response to complete with by token; a handler gets one from the host instead. */
static inline porth_response porth_response_new(void) {
    porth_response response;
    memset(&response, 0, sizeof response);
    response.size = sizeof response;
    return response;
}

/* Fills in a response with one header field, or with none when it is NULL; the field must live as long as the library.
 * Answers PORTH_READY. */
static inline int32_t porth_response_fill(porth_response *response, uint32_t status, const porth_header *header,
                                          porth_bytes body) {
    response->status = status;
    response->headers = header;
    response->headers_len = header == NULL ? 0 : 1;
    response->body = body;
    return PORTH_READY;
}

/* Fills in a response of JSON. Answers PORTH_READY. */
static inline int32_t porth_json_response(porth_response *response, uint32_t status, porth_bytes json) {
    static const porth_header content_type = {PORTH_STR_INIT("content-type"), PORTH_STR_INIT("application/json")};
    return porth_response_fill(response, status, &content_type, json);
}

/* The path parameter of this name; `ptr` is NULL when the pattern has none. */
static inline porth_str porth_path_parameter(const porth_request *request, porth_str name) {
    for (size_t index = 0; index < request->parameters_len; index++) {
        const porth_parameter *parameter = &request->parameters[index];
        if (parameter->name.len == name.len && memcmp(parameter->name.ptr, name.ptr, name.len) == 0) {
            return parameter->value;
        }
    }
    return porth_str_of(NULL, 0);
}

/* An endpoint with the host's default limits. */
static inline porth_endpoint porth_endpoint_new(porth_str method, porth_str path, porth_str auth, porth_handler handler,
                                                void *user) {
    porth_endpoint endpoint;
    memset(&endpoint, 0, sizeof endpoint);
    endpoint.size = sizeof endpoint;
    endpoint.method = method;
    endpoint.path = path;
    endpoint.auth = auth;
    endpoint.handler = handler;
    endpoint.user = user;
    return endpoint;
}

/* Writes a line to the host's log, unless it is less severe than what the host logs now. `target` names the part of the
 * plug-in that speaks. */
static inline void porth_log(const porth_host *host, uint64_t context, uint32_t level, porth_str target,
                             porth_str message) {
    porth_log_record record;
    if (level > __atomic_load_n(host->max_log_level, __ATOMIC_RELAXED)) {
        return;
    }
    memset(&record, 0, sizeof record);
    record.size = sizeof record;
    record.level = level;
    record.target = target;
    record.message = message;
    host->log(context, &record);
}

/* ---- The note, which the host reads before it opens a library ------------------------------------------------------- */

#if defined(__x86_64__)
#define PORTH_TARGET_ARCH "x86_64"
#elif defined(__aarch64__)
#define PORTH_TARGET_ARCH "aarch64"
#elif defined(__riscv) && __riscv_xlen == 64
#define PORTH_TARGET_ARCH "riscv64"
#else
#define PORTH_TARGET_ARCH "other"
#endif

#if defined(__linux__) && defined(__GLIBC__)
#define PORTH_TARGET PORTH_TARGET_ARCH "-linux-gnu"
#elif defined(__linux__)
#define PORTH_TARGET PORTH_TARGET_ARCH "-linux-musl"
#else
#define PORTH_TARGET PORTH_TARGET_ARCH "-other"
#endif

/* Where a struct (`field` 0) or one of its fields (from 1) lies. */
typedef struct porth_layout_row {
    uint16_t type_id;
    uint16_t field;
    uint32_t offset;
    uint32_t size;
    uint32_t align;
} porth_layout_row;

#define PORTH_ROWS_LEN 205

typedef struct porth_note {
    uint32_t owner_len;
    uint32_t description_len;
    uint32_t kind;
    uint8_t owner[8];
    uint8_t magic[8];
    uint32_t abi_draft;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t least_host_minor;
    /* 0: no panic can come from it. */
    uint32_t panic;
    uint32_t flags;
    uint8_t target[32];
    uint32_t rows_len;
    porth_layout_row rows[PORTH_ROWS_LEN];
} porth_note;

#ifdef __cplusplus
#define PORTH_ALIGN_OF(type) alignof(type)
#else
#define PORTH_ALIGN_OF(type) _Alignof(type)
#endif

#define PORTH_ROW_OF(id, type) {id, 0, 0, sizeof(type), PORTH_ALIGN_OF(type)}
#define PORTH_ROW(id, number, type, field) {id, number, offsetof(type, field), sizeof(((type *)0)->field), 0}

#define PORTH_ROWS                                                                                                        \
    PORTH_ROW_OF(1, porth_str), PORTH_ROW(1, 1, porth_str, ptr), PORTH_ROW(1, 2, porth_str, len),                         \
    PORTH_ROW_OF(2, porth_bytes), PORTH_ROW(2, 1, porth_bytes, ptr), PORTH_ROW(2, 2, porth_bytes, len),                   \
    PORTH_ROW(2, 3, porth_bytes, owner), PORTH_ROW(2, 4, porth_bytes, drop),                                              \
    PORTH_ROW_OF(3, porth_header), PORTH_ROW(3, 1, porth_header, name), PORTH_ROW(3, 2, porth_header, value),             \
    PORTH_ROW_OF(4, porth_parameter), PORTH_ROW(4, 1, porth_parameter, name), PORTH_ROW(4, 2, porth_parameter, value),    \
    PORTH_ROW_OF(5, porth_request), PORTH_ROW(5, 1, porth_request, size), PORTH_ROW(5, 2, porth_request, handle),         \
    PORTH_ROW(5, 3, porth_request, method), PORTH_ROW(5, 4, porth_request, path),                                         \
    PORTH_ROW(5, 5, porth_request, query), PORTH_ROW(5, 6, porth_request, headers),                                       \
    PORTH_ROW(5, 7, porth_request, headers_len), PORTH_ROW(5, 8, porth_request, parameters),                              \
    PORTH_ROW(5, 9, porth_request, parameters_len), PORTH_ROW(5, 10, porth_request, body),                                \
    PORTH_ROW(5, 11, porth_request, deadline_ms), PORTH_ROW(5, 12, porth_request, request_id),                            \
    PORTH_ROW(5, 13, porth_request, caller),                                                                              \
    PORTH_ROW_OF(6, porth_response), PORTH_ROW(6, 1, porth_response, size), PORTH_ROW(6, 2, porth_response, status),      \
    PORTH_ROW(6, 3, porth_response, headers_len), PORTH_ROW(6, 4, porth_response, headers),                               \
    PORTH_ROW(6, 5, porth_response, header_owner), PORTH_ROW(6, 6, porth_response, body),                                 \
    PORTH_ROW(6, 7, porth_response, future), PORTH_ROW(6, 8, porth_response, stream),                                     \
    PORTH_ROW_OF(7, porth_waker_table), PORTH_ROW(7, 1, porth_waker_table, clone),                                        \
    PORTH_ROW(7, 2, porth_waker_table, wake), PORTH_ROW(7, 3, porth_waker_table, wake_by_ref),                            \
    PORTH_ROW(7, 4, porth_waker_table, drop),                                                                             \
    PORTH_ROW_OF(8, porth_waker), PORTH_ROW(8, 1, porth_waker, data), PORTH_ROW(8, 2, porth_waker, table),                \
    PORTH_ROW_OF(9, porth_future), PORTH_ROW(9, 1, porth_future, state), PORTH_ROW(9, 2, porth_future, poll),             \
    PORTH_ROW(9, 3, porth_future, drop),                                                                                  \
    PORTH_ROW_OF(10, porth_host_call), PORTH_ROW(10, 1, porth_host_call, state),                                          \
    PORTH_ROW(10, 2, porth_host_call, poll), PORTH_ROW(10, 3, porth_host_call, drop),                                     \
    PORTH_ROW_OF(11, porth_endpoint), PORTH_ROW(11, 1, porth_endpoint, size), PORTH_ROW(11, 2, porth_endpoint, method),   \
    PORTH_ROW(11, 3, porth_endpoint, path), PORTH_ROW(11, 4, porth_endpoint, priority),                                   \
    PORTH_ROW(11, 5, porth_endpoint, flags), PORTH_ROW(11, 6, porth_endpoint, auth),                                      \
    PORTH_ROW(11, 7, porth_endpoint, body_bytes_max), PORTH_ROW(11, 8, porth_endpoint, deadline_ms),                      \
    PORTH_ROW(11, 9, porth_endpoint, handler), PORTH_ROW(11, 10, porth_endpoint, user),                                   \
    PORTH_ROW_OF(12, porth_log_record), PORTH_ROW(12, 1, porth_log_record, size),                                         \
    PORTH_ROW(12, 2, porth_log_record, level), PORTH_ROW(12, 3, porth_log_record, line),                                  \
    PORTH_ROW(12, 4, porth_log_record, target), PORTH_ROW(12, 5, porth_log_record, message),                              \
    PORTH_ROW(12, 6, porth_log_record, file), PORTH_ROW(12, 7, porth_log_record, fields),                                 \
    PORTH_ROW(12, 8, porth_log_record, fields_len),                                                                       \
    PORTH_ROW_OF(13, porth_host), PORTH_ROW(13, 1, porth_host, size), PORTH_ROW(13, 2, porth_host, abi_draft),            \
    PORTH_ROW(13, 3, porth_host, abi_major), PORTH_ROW(13, 4, porth_host, abi_minor),                                     \
    PORTH_ROW(13, 5, porth_host, reserved), PORTH_ROW(13, 6, porth_host, max_log_level),                                  \
    PORTH_ROW(13, 7, porth_host, log), PORTH_ROW(13, 8, porth_host, metric_add),                                          \
    PORTH_ROW(13, 9, porth_host, metric_increment), PORTH_ROW(13, 10, porth_host, metric_observe),                        \
    PORTH_ROW(13, 11, porth_host, add_endpoint), PORTH_ROW(13, 12, porth_host, remove_endpoint),                          \
    PORTH_ROW(13, 13, porth_host, request_retain), PORTH_ROW(13, 14, porth_host, request_release),                        \
    PORTH_ROW(13, 15, porth_host, request_token), PORTH_ROW(13, 16, porth_host, request_body_next),                       \
    PORTH_ROW(13, 17, porth_host, complete), PORTH_ROW(13, 18, porth_host, check_session_valid),                          \
    PORTH_ROW(13, 19, porth_host, trigger_session_used), PORTH_ROW(13, 20, porth_host, get_session_age),                  \
    PORTH_ROW(13, 21, porth_host, get_scheme_module), PORTH_ROW(13, 22, porth_host, get_scheme_list),                     \
    PORTH_ROW(13, 23, porth_host, scheme_register), PORTH_ROW(13, 24, porth_host, scheme_register_get),                   \
    PORTH_ROW(13, 25, porth_host, scheme_deregister), PORTH_ROW(13, 26, porth_host, scheme_can_use),                      \
    PORTH_ROW(13, 27, porth_host, timer), PORTH_ROW(13, 28, porth_host, document_get),                                    \
    PORTH_ROW(13, 29, porth_host, document_put), PORTH_ROW(13, 30, porth_host, document_delete),                          \
    PORTH_ROW(13, 31, porth_host, document_list), PORTH_ROW(13, 32, porth_host, document_apply),                          \
    PORTH_ROW(13, 33, porth_host, document_consume), PORTH_ROW(13, 34, porth_host, call_wait),                            \
    PORTH_ROW(13, 35, porth_host, call_then), PORTH_ROW(13, 36, porth_host, host_info),                                   \
    PORTH_ROW(13, 37, porth_host, get_plugin_external_url), PORTH_ROW(13, 38, porth_host, check_user_valid),              \
    PORTH_ROW(13, 39, porth_host, check_client_valid), PORTH_ROW(13, 40, porth_host, get_client_granted_scopes),          \
    PORTH_ROW(13, 41, porth_host, get_user_list), PORTH_ROW(13, 42, porth_host, get_user),                                \
    PORTH_ROW(13, 43, porth_host, get_user_profile), PORTH_ROW(13, 44, porth_host, is_user_valid),                        \
    PORTH_ROW(13, 45, porth_host, add_user), PORTH_ROW(13, 46, porth_host, set_user),                                     \
    PORTH_ROW(13, 47, porth_host, delete_user), PORTH_ROW(13, 48, porth_host, user_update_password),                      \
    PORTH_ROW(13, 49, porth_host, get_client_list), PORTH_ROW(13, 50, porth_host, get_client),                            \
    PORTH_ROW(13, 51, porth_host, is_client_valid), PORTH_ROW(13, 52, porth_host, add_client),                            \
    PORTH_ROW(13, 53, porth_host, set_client), PORTH_ROW(13, 54, porth_host, delete_client),                              \
    PORTH_ROW(13, 55, porth_host, add_well_known), PORTH_ROW(13, 56, porth_host, get_login_url),                          \
    PORTH_ROW(13, 57, porth_host, generate_hash), PORTH_ROW(13, 58, porth_host, extension),                               \
    PORTH_ROW_OF(14, porth_init_arguments), PORTH_ROW(14, 1, porth_init_arguments, size),                                 \
    PORTH_ROW(14, 2, porth_init_arguments, context), PORTH_ROW(14, 3, porth_init_arguments, kind),                        \
    PORTH_ROW(14, 4, porth_init_arguments, module), PORTH_ROW(14, 5, porth_init_arguments, name),                         \
    PORTH_ROW(14, 6, porth_init_arguments, parameters), PORTH_ROW(14, 7, porth_init_arguments, generation),               \
    PORTH_ROW_OF(15, porth_init_result), PORTH_ROW(15, 1, porth_init_result, size),                                       \
    PORTH_ROW(15, 2, porth_init_result, instance), PORTH_ROW(15, 3, porth_init_result, errors),                           \
    PORTH_ROW_OF(16, porth_plugin), PORTH_ROW(16, 1, porth_plugin, size), PORTH_ROW(16, 2, porth_plugin, abi_draft),      \
    PORTH_ROW(16, 3, porth_plugin, abi_major), PORTH_ROW(16, 4, porth_plugin, abi_minor),                                 \
    PORTH_ROW(16, 5, porth_plugin, reserved), PORTH_ROW(16, 6, porth_plugin, load),                                       \
    PORTH_ROW(16, 7, porth_plugin, unload), PORTH_ROW(16, 8, porth_plugin, init),                                         \
    PORTH_ROW(16, 9, porth_plugin, close), PORTH_ROW(16, 10, porth_plugin, extension),                                    \
    PORTH_ROW_OF(17, porth_stream), PORTH_ROW(17, 1, porth_stream, state), PORTH_ROW(17, 2, porth_stream, poll_next),     \
    PORTH_ROW(17, 3, porth_stream, drop), PORTH_ROW(17, 4, porth_stream, flags),                                          \
    PORTH_ROW_OF(18, porth_document_migrations), PORTH_ROW(18, 1, porth_document_migrations, size),                       \
    PORTH_ROW(18, 2, porth_document_migrations, migrate),                                                                 \
    PORTH_ROW_OF(19, porth_scheme), PORTH_ROW(19, 1, porth_scheme, size), PORTH_ROW(19, 2, porth_scheme, can_use),        \
    PORTH_ROW(19, 3, porth_scheme, register_), PORTH_ROW(19, 4, porth_scheme, register_get),                              \
    PORTH_ROW(19, 5, porth_scheme, deregister), PORTH_ROW(19, 6, porth_scheme, trigger),                                  \
    PORTH_ROW(19, 7, porth_scheme, validate), PORTH_ROW(19, 8, porth_scheme, identify),                                   \
    PORTH_ROW_OF(20, porth_user_back_end), PORTH_ROW(20, 1, porth_user_back_end, size),                                   \
    PORTH_ROW(20, 2, porth_user_back_end, count), PORTH_ROW(20, 3, porth_user_back_end, list),                            \
    PORTH_ROW(20, 4, porth_user_back_end, get), PORTH_ROW(20, 5, porth_user_back_end, add),                               \
    PORTH_ROW(20, 6, porth_user_back_end, set), PORTH_ROW(20, 7, porth_user_back_end, delete_),                           \
    PORTH_ROW(20, 8, porth_user_back_end, check_password), PORTH_ROW(20, 9, porth_user_back_end, set_password),           \
    PORTH_ROW_OF(21, porth_client_back_end), PORTH_ROW(21, 1, porth_client_back_end, size),                               \
    PORTH_ROW(21, 2, porth_client_back_end, count), PORTH_ROW(21, 3, porth_client_back_end, list),                        \
    PORTH_ROW(21, 4, porth_client_back_end, get), PORTH_ROW(21, 5, porth_client_back_end, add),                           \
    PORTH_ROW(21, 6, porth_client_back_end, set), PORTH_ROW(21, 7, porth_client_back_end, delete_),                       \
    PORTH_ROW(21, 8, porth_client_back_end, check_secret), PORTH_ROW_OF(22, porth_user_middleware),                       \
    PORTH_ROW(22, 1, porth_user_middleware, size), PORTH_ROW(22, 2, porth_user_middleware, show),                         \
    PORTH_ROW(22, 3, porth_user_middleware, store), PORTH_ROW(22, 4, porth_user_middleware, delete_),                     \
    PORTH_ROW_OF(23, porth_user_revoke), PORTH_ROW(23, 1, porth_user_revoke, size),                                       \
    PORTH_ROW(23, 2, porth_user_revoke, user_revoke), PORTH_ROW_OF(24, porth_health),                                     \
    PORTH_ROW(24, 1, porth_health, size), PORTH_ROW(24, 2, porth_health, health),                                                       \
    PORTH_ROW_OF(25, porth_openapi), PORTH_ROW(25, 1, porth_openapi, size), PORTH_ROW(25, 2, porth_openapi, openapi)

extern __attribute__((visibility("default"))) const porth_plugin PORTH_PLUGIN_V1;

/* Exports the library, with the note. Once, at the end of one source file; a semicolon follows. */
#define PORTH_EXPORT_PLUGIN(load, unload, init, close) PORTH_EXPORT_EXTENDED_PLUGIN(load, unload, init, close, NULL)

/* As PORTH_EXPORT_PLUGIN, for a library with extensions. */
#define PORTH_EXPORT_EXTENDED_PLUGIN(load, unload, init, close, extension)                                                \
    static const porth_note porth_note_of_this_library                                                                   \
        __attribute__((used, section(".note.porth"), aligned(4))) = {                                                    \
            6,                                                                                                            \
            sizeof(porth_note) - 20,                                                                                      \
            1,                                                                                                            \
            {'P', 'o', 'r', 't', 'h', 0, 0, 0},                                                                           \
            {'P', 'O', 'R', 'T', 'H', 'A', 'B', 'I'},                                                                     \
            PORTH_ABI_DRAFT,                                                                                              \
            PORTH_ABI_MAJOR,                                                                                              \
            PORTH_ABI_MINOR,                                                                                              \
            PORTH_LEAST_HOST_MINOR,                                                                                       \
            0,                                                                                                            \
            0,                                                                                                            \
            PORTH_TARGET,                                                                                                 \
            PORTH_ROWS_LEN,                                                                                               \
            {PORTH_ROWS}};                                                                                                \
    const porth_plugin PORTH_PLUGIN_V1 = {sizeof(porth_plugin), PORTH_ABI_DRAFT, PORTH_ABI_MAJOR, PORTH_ABI_MINOR, 0,     \
                                          load, unload, init, close, extension}

#ifdef __cplusplus
}
#endif

#endif
