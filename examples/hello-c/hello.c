/* A plug-in in C: a parameter, a log line, an endpoint that answers at once, and one that answers later.
 *
 * Read from the bottom: the entry points come last. */
#include <errno.h>
#include <porth.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LATER_MS 50

/* A request that is waiting for its answer. */
struct waiting {
    uint64_t token;
    struct timespec due;
    struct waiting *next;
};

/* What an instance keeps. */
struct hello {
    uint64_t context;
    /* The greeting as it stands in JSON: escaped, without its quotes. */
    char *greeting;
    size_t greeting_len;
    /* The thread that answers later, and what it shares with the handlers. */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct waiting *first;
    struct waiting **end;
    int stopping;
};

/* Lives as long as the process. Each loading of the library has a copy of this variable. */
static const porth_host *host;

/* ---- JSON ---- */

/* Writes text as it stands between the quotes of a JSON string, and answers behind it. `to` has room for six times its
 * length. */
static char *escape(char *to, porth_str text) {
    for (size_t index = 0; index < text.len; index++) {
        uint8_t byte = text.ptr[index];
        if (byte == '"' || byte == '\\') {
            *to++ = '\\';
            *to++ = (char)byte;
        } else if (byte < 0x20) {
            to += snprintf(to, 7, "\\u%04x", (unsigned)byte);
        } else {
            *to++ = (char)byte;
        }
    }
    return to;
}

/* Finds the value of the only member of a JSON object, still escaped; the schema below leaves no other, and the host has
 * checked it. A plug-in with more parameters uses a JSON library. */
static porth_str only_text(porth_str object) {
    const uint8_t *end = object.ptr + object.len;
    const uint8_t *colon = memchr(object.ptr, ':', object.len);
    const uint8_t *quote = colon == NULL ? NULL : memchr(colon, '"', (size_t)(end - colon));
    if (quote == NULL) {
        return porth_str_of(NULL, 0);
    }
    const uint8_t *first = quote + 1;
    const uint8_t *last = first;
    while (last < end && *last != '"') {
        last += *last == '\\' ? 2 : 1;
    }
    return last < end ? porth_str_of(first, (size_t)(last - first)) : porth_str_of(NULL, 0);
}

/* ---- GET /hello/{name}: at once ---- */

static int32_t say_hello(void *user, const porth_request *request, porth_response *response) {
    const struct hello *hello = user;
    porth_str name = porth_path_parameter(request, PORTH_STR("name"));
    static const char before[] = "{\"message\":\"", between[] = ", ", after[] = "\"}";
    char *json = malloc(sizeof before + hello->greeting_len + sizeof between + 6 * name.len + sizeof after);
    if (json == NULL) {
        return PORTH_FAILED;
    }
    char *to = json;
    memcpy(to, before, sizeof before - 1);
    to += sizeof before - 1;
    memcpy(to, hello->greeting, hello->greeting_len);
    to += hello->greeting_len;
    memcpy(to, between, sizeof between - 1);
    to = escape(to + sizeof between - 1, name);
    memcpy(to, after, sizeof after - 1);
    to += sizeof after - 1;
    /* The host frees it when it is sent. */
    return porth_json_response(response, 200, porth_bytes_malloc(json, (size_t)(to - json)));
}

/* ---- GET /later: by token, from a thread of the instance ---- */

static int32_t answer_later(void *user, const porth_request *request, porth_response *response) {
    struct hello *hello = user;
    (void)response;
    struct waiting *waiting = malloc(sizeof *waiting);
    if (waiting == NULL) {
        return PORTH_FAILED;
    }
    waiting->next = NULL;
    clock_gettime(CLOCK_MONOTONIC, &waiting->due);
    waiting->due.tv_nsec += LATER_MS * 1000000L;
    if (waiting->due.tv_nsec >= 1000000000L) {
        waiting->due.tv_sec += 1;
        waiting->due.tv_nsec -= 1000000000L;
    }
    waiting->token = host->request_token(hello->context, request->handle);
    if (waiting->token == 0) {
        free(waiting);
        return PORTH_FAILED;
    }
    pthread_mutex_lock(&hello->lock);
    *hello->end = waiting;
    hello->end = &waiting->next;
    pthread_cond_signal(&hello->changed);
    pthread_mutex_unlock(&hello->lock);
    /* Without a future in the response this means: by token. The thread may even have answered by now. */
    return PORTH_PENDING;
}

static void *run(void *argument) {
    struct hello *hello = argument;
    pthread_mutex_lock(&hello->lock);
    while (!hello->stopping) {
        struct waiting *waiting = hello->first;
        if (waiting == NULL) {
            pthread_cond_wait(&hello->changed, &hello->lock);
            continue;
        }
        if (pthread_cond_timedwait(&hello->changed, &hello->lock, &waiting->due) != ETIMEDOUT) {
            /* Something has changed, or nothing; all wait equally long, so the first is still the first. */
            continue;
        }
        hello->first = waiting->next;
        if (hello->first == NULL) {
            hello->end = &hello->first;
        }
        pthread_mutex_unlock(&hello->lock);
        porth_response response = porth_response_new();
        porth_json_response(&response, 200, porth_bytes_static(PORTH_STR("{\"message\":\"later\"}")));
        /* PORTH_CANCELLED when the client has gone: there is nothing to do about it. */
        host->complete(hello->context, waiting->token, PORTH_READY, &response);
        free(waiting);
        pthread_mutex_lock(&hello->lock);
    }
    pthread_mutex_unlock(&hello->lock);
    return NULL;
}

/* ---- The entry points ---- */

/* Says why `init` failed: a JSON array of texts. */
static int32_t refuse(porth_init_result *result, int32_t code, porth_str errors) {
    result->errors = porth_bytes_static(errors);
    return code;
}

static int32_t add(struct hello *hello, porth_str path, porth_handler handler) {
    porth_endpoint endpoint = porth_endpoint_new(PORTH_STR("GET"), path, PORTH_STR("none"), handler, hello);
    porth_bytes detail = porth_bytes_static(PORTH_STR(""));
    endpoint.flags = PORTH_ENDPOINT_SHORT;
    int32_t code = host->add_endpoint(hello->context, &endpoint, &detail);
    if (code != PORTH_OK) {
        porth_log(host, hello->context, PORTH_LEVEL_ERROR, PORTH_STR("hello_c"), porth_str_of(detail.ptr, detail.len));
    }
    porth_bytes_drop(detail);
    return code;
}

static int start_thread(struct hello *hello) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&hello->lock, NULL);
    pthread_cond_init(&hello->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    hello->end = &hello->first;
    if (pthread_create(&hello->thread, NULL, run, hello) != 0) {
        pthread_cond_destroy(&hello->changed);
        pthread_mutex_destroy(&hello->lock);
        return 0;
    }
    return 1;
}

static int32_t close_hello(void *instance) {
    struct hello *hello = instance;
    pthread_mutex_lock(&hello->lock);
    hello->stopping = 1;
    pthread_cond_signal(&hello->changed);
    pthread_mutex_unlock(&hello->lock);
    pthread_join(hello->thread, NULL);
    /* No request is under way, so what still waits was given up by the host. */
    while (hello->first != NULL) {
        struct waiting *next = hello->first->next;
        free(hello->first);
        hello->first = next;
    }
    pthread_cond_destroy(&hello->changed);
    pthread_mutex_destroy(&hello->lock);
    free(hello->greeting);
    free(hello);
    return PORTH_OK;
}

static int32_t init_hello(void *library, const porth_init_arguments *arguments, porth_init_result *result) {
    (void)library;
    porth_str greeting = only_text(arguments->parameters);
    if (greeting.ptr == NULL) {
        return refuse(result, PORTH_PARAM, PORTH_STR("[\"greeting: a text is expected\"]"));
    }
    struct hello *hello = calloc(1, sizeof *hello);
    char *copy = malloc(greeting.len + 1);
    if (hello == NULL || copy == NULL) {
        free(copy);
        free(hello);
        return refuse(result, PORTH_MEMORY, PORTH_STR("[\"no memory\"]"));
    }
    memcpy(copy, greeting.ptr, greeting.len);
    hello->context = arguments->context;
    hello->greeting = copy;
    hello->greeting_len = greeting.len;
    if (!start_thread(hello)) {
        free(copy);
        free(hello);
        return refuse(result, PORTH_ERROR, PORTH_STR("[\"no thread\"]"));
    }
    if (add(hello, PORTH_STR("/hello/{name}"), say_hello) != PORTH_OK ||
        add(hello, PORTH_STR("/later"), answer_later) != PORTH_OK) {
        close_hello(hello);
        return refuse(result, PORTH_ERROR, PORTH_STR("[\"the host refuses an endpoint; its log says why\"]"));
    }
    porth_log(host, hello->context, PORTH_LEVEL_INFO, PORTH_STR("hello_c"), PORTH_STR("ready to greet"));
    result->instance = hello;
    return PORTH_OK;
}

static int32_t load(const porth_host *table, uint64_t context, void **library, porth_bytes *description) {
    (void)context;
    host = table;
    *library = NULL;
    *description = porth_bytes_static(PORTH_STR(
        "[{\"name\":\"hello-c\",\"display_name\":\"Hello in C\",\"description\":\"Greets whoever asks\",\"needs\":[],"
        "\"parameters_schema\":{\"type\":\"object\",\"properties\":{\"greeting\":{\"type\":\"string\"}},"
        "\"required\":[\"greeting\"],\"additionalProperties\":false}}]"));
    return PORTH_OK;
}

static void unload(void *library) {
    (void)library;
}

PORTH_EXPORT_PLUGIN(load, unload, init_hello, close_hello);
