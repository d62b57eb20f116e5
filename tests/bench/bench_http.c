/* SPDX-License-Identifier: Apache-2.0 */
/* bench_http.c - what one token event costs on the loop thread: N streams, the real engine over an
 * executor that computes nothing, one client that reads everything. Prints CPU of the loop thread
 * per token (the send on loopback included) and tokens per second, the best of three runs: others
 * may use the machine. Then what a scrape of /metrics costs the loop, and a short request.
 *   bench_http [streams [tokens [step_us]]]
 */
#include "rig.h"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

static double cpu_of(pthread_t t)
{
    clockid_t id;
    struct timespec ts = {0};
    if (pthread_getcpuclockid(t, &id) == 0)
        clock_gettime(id, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Reads all sockets until each has sent its [DONE]; returns bytes. */
static size_t read_all(const int *fd, int n)
{
    static char buf[1 << 18];
    int ep = epoll_create1(0), left = n;
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd[i], &e);
    }
    while (left > 0) {
        struct epoll_event ev[256];
        int k = epoll_wait(ep, ev, 256, 20000);
        if (k <= 0)
            break;
        for (int i = 0; i < k; i++) {
            ssize_t got = recv(ev[i].data.fd, buf, sizeof buf, MSG_DONTWAIT);
            bytes += got > 0 ? (size_t)got : 0;
            bool done = got == 0 || (got >= 7 && memmem(buf, (size_t)got, "[DONE]", 6));
            if (done) {
                epoll_ctl(ep, EPOLL_CTL_DEL, ev[i].data.fd, NULL);
                left--;
            }
        }
    }
    close(ep);
    return bytes;
}

struct figure {
    double rate, cpu_us, bytes;
};

static struct figure run_once(int streams, int tokens, int64_t step_us)
{
    char body[160];
    int *fd = calloc((size_t)streams, sizeof *fd);
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 1024;
    rig.c.scheduler.max_step_tokens = 16384;
    rig.c.limits.queue_size = 4096;
    rig.f.n_pages = 1 << 17;
    atomic_store(&rig.ex.step_us, step_us);
    rig_start(&rig);
    snprintf(body, sizeof body,
             "{\"prompt\":\"x\",\"max_tokens\":%d,\"stream\":true,\"ignore_eos\":true}", tokens);
    for (int i = 0; i < streams; i++)
        fd[i] = dial(&rig);
    double cpu = cpu_of(rig.loop);
    int64_t t0 = clock_us();
    for (int i = 0; i < streams; i++)
        put_post(fd[i], "/v1/completions", body);
    size_t bytes = read_all(fd, streams);
    double wall = (double)(clock_us() - t0) * 1e-6;
    cpu = cpu_of(rig.loop) - cpu;
    double n = (double)streams * tokens;
    struct figure f = {n / wall, cpu * 1e6 / n, (double)bytes / n};
    for (int i = 0; i < streams; i++)
        close(fd[i]);
    free(fd);
    rig_stop(&rig);
    return f;
}

static void measure(int streams, int tokens, int64_t step_us)
{
    struct figure best = {0};
    for (int i = 0; i < 3; i++) {
        struct figure f = run_once(streams, tokens, step_us);
        best.rate = f.rate > best.rate ? f.rate : best.rate;
        best.cpu_us = i == 0 || f.cpu_us < best.cpu_us ? f.cpu_us : best.cpu_us;
        best.bytes = f.bytes;
    }
    printf("%6d streams  step %6lld us  %9.0f tokens/s  loop CPU %6.2f us/token  %4.0f B/token\n",
           streams, (long long)step_us, best.rate, best.cpu_us, best.bytes);
    fflush(stdout);
}

/* CPU of the loop per request on one kept connection. */
static void requests(const char *what, const char *text)
{
    rig_defaults(&rig);
    rig_start(&rig);
    int fd = dial(&rig);
    double best = 1;
    for (int k = 0; k < 5; k++) {
        double cpu = cpu_of(rig.loop);
        for (int i = 0; i < 200; i++) {
            put_all(fd, text, strlen(text));
            struct answer a = get_answer(fd, false);
            free(a.body);
        }
        cpu = (cpu_of(rig.loop) - cpu) / 200;
        best = cpu < best ? cpu : best;
    }
    printf("%-28s loop CPU %6.1f us/request\n", what, best * 1e6);
    close(fd);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
    if (argc > 1) {
        measure(atoi(argv[1]), argc > 2 ? atoi(argv[2]) : 200, argc > 3 ? atoll(argv[3]) : 10000);
        return 0;
    }
    measure(1, 500, 1000);
    measure(64, 300, 10000);
    measure(256, 200, 10000);
    measure(1024, 100, 10000);
    measure(256, 300, 0);
    requests("GET /health", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    requests("GET /metrics", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    requests("POST /v1/completions, 1 token",
             "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
             "Content-Length: 31\r\n\r\n{\"prompt\":\"xyz\",\"max_tokens\":1}");
    return 0;
}
