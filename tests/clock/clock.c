/*
 * Moves the wall clock of one process: a library to be preloaded. A node made of namespaces has the machine's wall clock, and moving that
 * would be felt by everybody.
 *
 * CLOCK_OFFSET names a file with a whole number, the seconds that the process's wall clock is ahead. It is read anew at every look at the
 * clock, so whoever replaces the file (by rename, or half a number could be read) moves the clock. Without it the clock is right.
 * Every other clock, those that never go back among them, stays as it is: so it is when somebody sets a machine's wall clock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long offset(void)
{
    const int saved = errno;
    const char *path = getenv("CLOCK_OFFSET");
    const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char text[24] = "";

    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0)
            text[0] = 0;
        close(file);
    }
    errno = saved;
    return atoll(text);
}

/* All that Rust's standard library asks. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    const int outcome = syscall(SYS_clock_gettime, clock, now);

    if (outcome == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += offset();
    return outcome;
}
