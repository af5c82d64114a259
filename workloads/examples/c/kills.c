// The world `kills` in C: counts kills in counters that all hosts share.

#include <stdlib.h>
#include <string.h>

#include "kills.h"

// The longest text that is put together here: a path with a number in it.
#define TEXT_MAX 64

typedef selvedge_workload_state_tuple2_string_scalar_t field_t;

// A text of `before`, a number in decimal and `after`.
typedef struct {
    char chars[TEXT_MAX];
    kills_string_t view;
} text_t;

static kills_string_t *text(text_t *text, const char *before, uint64_t number, const char *after) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    size_t before_len = strlen(before), digits_len = sizeof digits - at, after_len = strlen(after);
    memcpy(text->chars, before, before_len);
    memcpy(text->chars + before_len, digits + at, digits_len);
    memcpy(text->chars + before_len + digits_len, after, after_len);
    text->view = (kills_string_t){(uint8_t *)text->chars, before_len + digits_len + after_len};
    return &text->view;
}

static kills_string_t words(const char *words) {
    return (kills_string_t){(uint8_t *)words, strlen(words)};
}

static field_t integer(const char *name, uint64_t value) {
    return (field_t){words(name), {SELVEDGE_WORKLOAD_STATE_SCALAR_INTEGER, {.integer = (int64_t)value}}};
}

// A refusal by the state would be a mistake of ours: the call ends, and nothing of it is written.
static void must(bool done) {
    if (!done) abort();
}

static uint64_t count_kill(uint64_t killer) {
    text_t name;
    selvedge_workload_state_error_t error;
    selvedge_workload_state_own_gcounter_t counter;
    must(selvedge_workload_state_constructor_gcounter(text(&name, "kills:", killer, ""), &counter, &error));
    selvedge_workload_state_borrow_gcounter_t borrowed = selvedge_workload_state_borrow_gcounter(counter);
    must(selvedge_workload_state_method_gcounter_increment(borrowed, 1, &error));
    uint64_t kills = selvedge_workload_state_method_gcounter_value(borrowed);
    selvedge_workload_state_gcounter_drop_own(counter);
    return kills;
}

static void note_death(const kills_kill_t *kill) {
    text_t name;
    selvedge_workload_state_error_t error;
    selvedge_workload_state_own_lwwmap_t death;
    selvedge_workload_clock_hybrid_time_t now;
    selvedge_workload_clock_now(&now);
    must(selvedge_workload_state_constructor_lwwmap(text(&name, "death:", kill->victim, ""), &death, &error));
    field_t fields[] = {
        integer("by", kill->killer),
        integer("at_ms", now.millis),
        {words("weapon"), {SELVEDGE_WORKLOAD_STATE_SCALAR_TEXT, {.text = kill->weapon}}},
    };
    selvedge_workload_state_list_tuple2_string_scalar_t list = {fields, sizeof fields / sizeof *fields};
    must(selvedge_workload_state_method_lwwmap_put(selvedge_workload_state_borrow_lwwmap(death), &list, &error));
    selvedge_workload_state_lwwmap_drop_own(death);
}

static void check(const kills_kill_t *kill, size_t index, const kills_string_t *banned) {
    if (kill->weapon.len != banned->len || memcmp(kill->weapon.ptr, banned->ptr, banned->len) != 0) return;
    text_t line, path;
    selvedge_workload_log_write(SELVEDGE_WORKLOAD_LOG_LEVEL_INFO, text(&line, "kill ", index, " is by a weapon that is banned"));
    kills_string_t message = words("is banned here");
    selvedge_workload_fault_invalid(text(&path, "kills[", index, "].weapon"), &message);
}

void exports_kills_count(kills_list_kill_t *kills, kills_list_standing_t *standings) {
    kills_string_t name = words("banned-weapon"), banned = {(uint8_t *)"", 0};
    bool configured = selvedge_workload_config_get(&name, &banned);
    standings->len = kills->len;
    standings->ptr = calloc(kills->len, sizeof *standings->ptr);
    must(standings->ptr != NULL || kills->len == 0);
    for (size_t index = 0; index < kills->len; index++) {
        const kills_kill_t *kill = &kills->ptr[index];
        check(kill, index, &banned);
        uint64_t count = count_kill(kill->killer);
        note_death(kill);
        standings->ptr[index] = (kills_standing_t){kill->killer, count, selvedge_workload_random_next()};
    }
    if (configured) kills_string_free(&banned);
    kills_list_kill_free(kills);
}
