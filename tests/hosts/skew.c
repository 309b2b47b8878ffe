/* A host whose clock is wrong: LD_PRELOAD this, with SKEW=seconds in the environment.
 *
 * The time of day is shifted by SKEW, and so is every wait until a time of day, as both are on a
 * host whose clock was set wrong. Clocks since boot are left alone.
 *
 *   cc -shared -fPIC -O1 -o skew.so skew.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Older than any host has been up: an absolute time beyond it is a time of day. */
#define YEARS 1000000000

static long skew(void) {
    static long seconds, known;
    if (!known) {
        const char *text = getenv("SKEW");
        seconds = text ? atol(text) : 0;
        known = 1;
    }
    return seconds;
}

static void *next(const char *name) {
    /* The plain symbol may be a condition variable's of before 2002. */
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

static int of_day(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

/* The kernel's time for one of ours. */
static const struct timespec *real(const struct timespec *ours, struct timespec *space) {
    if (!ours || ours->tv_sec < YEARS)
        return ours;
    *space = *ours;
    space->tv_sec -= skew();
    return space;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int code = (int)syscall(SYS_clock_gettime, clock, now);
    if (!code && of_day(clock))
        now->tv_sec += skew();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int code = (int)syscall(SYS_gettimeofday, now, zone);
    if (!code)
        now->tv_sec += skew();
    return code;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}

#define WAIT(name, parameters, last, ...)                          \
    int name parameters {                                          \
        static int(*wait) parameters;                              \
        struct timespec space;                                     \
        if (!wait)                                                 \
            wait = (int(*) parameters)next(#name);                 \
        return wait(__VA_ARGS__, real(last, &space));              \
    }

WAIT(pthread_cond_timedwait,
     (pthread_cond_t *restrict c, pthread_mutex_t *restrict m, const struct timespec *restrict t), t,
     c, m)
WAIT(pthread_cond_clockwait,
     (pthread_cond_t *restrict c, pthread_mutex_t *restrict m, clockid_t k,
      const struct timespec *restrict t), t, c, m, k)
WAIT(pthread_mutex_timedlock, (pthread_mutex_t *restrict m, const struct timespec *restrict t), t, m)
WAIT(pthread_mutex_clocklock,
     (pthread_mutex_t *restrict m, clockid_t k, const struct timespec *restrict t), t, m, k)
WAIT(sem_timedwait, (sem_t *restrict s, const struct timespec *restrict t), t, s)
WAIT(sem_clockwait, (sem_t *restrict s, clockid_t k, const struct timespec *restrict t), t, s, k)

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted,
                    struct timespec *left) {
    struct timespec space;
    const struct timespec *until = flags & TIMER_ABSTIME ? real(wanted, &space) : wanted;
    return syscall(SYS_clock_nanosleep, clock, flags, until, left) ? errno : 0;
}

/* Some libraries wait by the kernel's futex itself. */
long syscall(long number, ...) {
    static long (*call)(long, ...);
    struct timespec space;
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (!call)
        call = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_futex && a[1] & FUTEX_CLOCK_REALTIME)
        a[3] = (long)real((const struct timespec *)a[3], &space);
    return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
