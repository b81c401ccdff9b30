/* Many pieces of a file into memory, and their checksums, in one call without Python's lock.
 *
 *     is it in the system's cache?  no:  ask for it, and leave it for the end
 *                                   yes: copy it out of the mapped file, or read it; CRC-32C
 *
 * A mapped file that somebody cuts short raises SIGBUS where it is looked at. Copies are guarded:
 * the piece is then left for the end too, where reading it tells why, and the process goes on.
 * Signals that are not ours go to whoever handled them before; where somebody has taken SIGBUS
 * since, nothing is copied from maps.
 *
 * Nothing is checked here: fetch.py has done so, and makes the only calls.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64 /* or an offset beyond 4 GB would be cut, and other bytes be read */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "offsets of files need 64 bits");

enum { FOUND = 0, LATE = 1, DAMAGED = 2 };

/* As `Pieces.table` in fetch.py lays them. */
typedef struct {
    int64_t offset; /* in the file */
    int64_t length;
    int64_t place;  /* in `room` */
    int64_t crc;    /* or less than 0: nothing is checked */
} Piece;

typedef struct {
    int fd;
    int no_wait;        /* flag of preadv2 for what is in the system's cache alone, or 0 */
    const uint8_t *map; /* the file from its first byte on, or NULL */
    int64_t mapped;     /* bytes of it */
    int held;           /* `map` is no file's, but memory that cannot go: nothing is asked */
} File;

/* CRC-32C: polynomial 0x1EDC6F41, bits reflected, as RFC 3720 has it. */

#define POLYNOMIAL 0x82F63B78u

static uint32_t table[8][256];

static void make_table(void)
{
    for (int byte = 0; byte < 256; byte++) {
        uint32_t crc = (uint32_t)byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        table[0][byte] = crc;
    }
    for (int at = 1; at < 8; at++)
        for (int byte = 0; byte < 256; byte++)
            table[at][byte] = table[at - 1][byte] >> 8 ^ table[0][table[at - 1][byte] & 255];
}

/* Eight bytes at a time by tables, for processors that have no instruction for it. */
static uint32_t crc_by_table(uint32_t crc, const uint8_t *data, int64_t size)
{
    for (; size >= 8; size -= 8, data += 8) {
        uint32_t low = crc ^ ((uint32_t)data[0] | (uint32_t)data[1] << 8 |
                              (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][data[4]] ^ table[2][data[5]] ^ table[1][data[6]] ^
              table[0][data[7]];
    }
    for (; size > 0; size--, data++)
        crc = crc >> 8 ^ table[0][(crc ^ *data) & 255];
    return crc;
}

static uint32_t (*crc_of)(uint32_t, const uint8_t *, int64_t) = crc_by_table;

#if defined(__x86_64__)
#include <immintrin.h>

/* The instruction takes 3 cycles and can begin one each cycle: three lanes go side by side. */
enum { LANE = 4096 };
static uint32_t past_lane; /* x to the power of a lane's bits, modulo the polynomial */

/* Product of two polynomials modulo P; the highest bit is the power 0. */
static uint32_t product(uint32_t a, uint32_t b)
{
    uint32_t sum = 0;
    for (; a; a <<= 1) {
        if (a & 0x80000000u)
            sum ^= b;
        b = b & 1 ? b >> 1 ^ POLYNOMIAL : b >> 1;
    }
    return sum;
}

__attribute__((target("sse4.2")))
static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *data, int64_t size)
{
    for (; size >= 3 * LANE; size -= 3 * LANE, data += 3 * LANE) {
        uint64_t one = crc, two = 0, three = 0, value;
        for (int at = 0; at < LANE; at += 8) {
            memcpy(&value, data + at, 8), one = _mm_crc32_u64(one, value);
            memcpy(&value, data + LANE + at, 8), two = _mm_crc32_u64(two, value);
            memcpy(&value, data + 2 * LANE + at, 8), three = _mm_crc32_u64(three, value);
        }
        crc = product(past_lane, (uint32_t)one) ^ (uint32_t)two;
        crc = product(past_lane, crc) ^ (uint32_t)three;
    }
    for (; size >= 8; size -= 8, data += 8) {
        uint64_t value;
        memcpy(&value, data, 8);
        crc = (uint32_t)_mm_crc32_u64(crc, value);
    }
    for (; size > 0; size--, data++)
        crc = _mm_crc32_u8(crc, *data);
    return crc;
}

static void choose_crc(void)
{
    if (!__builtin_cpu_supports("sse4.2"))
        return;
    uint32_t square = 0x40000000u; /* x */
    for (int bits = 1; bits < 8 * LANE; bits *= 2)
        square = product(square, square);
    past_lane = square;
    crc_of = crc_by_instruction;
}

/* Past the processor's cache, which a batch would only flush: its memory is not read first. */
static void copy_past_cache(uint8_t *to, const uint8_t *from, int64_t size)
{
    int64_t at = -(intptr_t)to & 15;
    memcpy(to, from, (size_t)at);
    for (; at + 64 <= size; at += 64) {
        _mm_prefetch((const char *)from + at + 1024, _MM_HINT_T0);
        __m128i a = _mm_loadu_si128((const __m128i *)(from + at));
        __m128i b = _mm_loadu_si128((const __m128i *)(from + at + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(from + at + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(from + at + 48));
        _mm_stream_si128((__m128i *)(to + at), a);
        _mm_stream_si128((__m128i *)(to + at + 16), b);
        _mm_stream_si128((__m128i *)(to + at + 32), c);
        _mm_stream_si128((__m128i *)(to + at + 48), d);
    }
    memcpy(to + at, from + at, (size_t)(size - at));
    _mm_sfence();
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *data, int64_t size)
{
    for (; size >= 8; size -= 8, data += 8) {
        uint64_t value;
        memcpy(&value, data, 8);
        crc = __crc32cd(crc, value);
    }
    for (; size > 0; size--, data++)
        crc = __crc32cb(crc, *data);
    return crc;
}

static void choose_crc(void) { crc_of = crc_by_instruction; }
static void copy_past_cache(uint8_t *to, const uint8_t *from, int64_t size) { memcpy(to, from, (size_t)size); }

#else
static void choose_crc(void) {}
static void copy_past_cache(uint8_t *to, const uint8_t *from, int64_t size) { memcpy(to, from, (size_t)size); }
#endif

/* Pieces below this are read: a call is then no slower than a copy, and needs no guard. So are those
 * above: whoever reads a file through would find all of it counted as memory of the process. */
enum { LARGE = 128 << 10, HUGE = 1 << 20 };

/* The guard. */

/* Of the model that needs no memory when a thread first looks at it, as the handler may be. */
static __thread sigjmp_buf *volatile guarded __attribute__((tls_model("initial-exec")));
static struct sigaction before;
static int installed;

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    if (guarded && info->si_code > 0) /* of the processor, and not of `kill` */
        siglongjmp(*guarded, 1);
    if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
        sigaction(SIGBUS, &before, NULL);
        if (info->si_code <= 0)
            raise(number); /* else it comes again by itself */
    } else if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else
        before.sa_handler(number);
}

static void prepare(void)
{
    make_table();
    choose_crc();
#ifdef __linux__ /* elsewhere nothing is copied from maps */
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_bus_error;
    sigemptyset(&ours.sa_mask);
    /* Not deferred: it is left by a jump, which would leave the signal blocked. */
    ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    installed = !sigaction(SIGBUS, &ours, &before);
#else
    (void)on_bus_error;
#endif
}

static int is_ours(void)
{
    struct sigaction now;
    return installed && !sigaction(SIGBUS, NULL, &now) && now.sa_flags & SA_SIGINFO &&
           now.sa_sigaction == on_bus_error;
}

static int copy_guarded(uint8_t *to, const uint8_t *from, int64_t size, int past_cache)
{
    sigjmp_buf here;
    if (sigsetjmp(here, 0)) {
        guarded = NULL;
        return 0;
    }
    guarded = &here;
    __asm__ volatile("" ::: "memory"); /* no byte is looked at before the guard stands ... */
    if (past_cache)
        copy_past_cache(to, from, size);
    else
        memcpy(to, from, (size_t)size);
    __asm__ volatile("" ::: "memory"); /* ... or after it went */
    guarded = NULL;
    return 1;
}

/* 1: it is in the system's cache; 0: it is not, and was asked for; -1: nobody can tell. */
static int is_there(const File *file, const Piece *piece)
{
#ifdef __linux__
    uint8_t byte;
    struct iovec one = {&byte, 1};
    int64_t ends[2] = {piece->offset, piece->offset + piece->length - 1};
    for (int at = 0; at < 2; at++) {
        ssize_t done = preadv2(file->fd, &one, 1, ends[at], file->no_wait);
        if (done == 0 || (done < 0 && errno != EAGAIN))
            return -1;
        if (done < 0) {
            posix_fadvise(file->fd, piece->offset, piece->length, POSIX_FADV_WILLNEED);
            return 0;
        }
    }
    return 1;
#else
    (void)file, (void)piece;
    return -1;
#endif
}

static int read_piece(const File *file, const Piece *piece, uint8_t *to)
{
    int64_t offset = piece->offset, length = piece->length;
#ifdef __linux__
    if (file->no_wait) {
        struct iovec whole = {to, (size_t)length};
        ssize_t done = preadv2(file->fd, &whole, 1, offset, file->no_wait);
        if (done == length)
            return FOUND;
        if (done >= 0 || errno == EAGAIN) {
            posix_fadvise(file->fd, offset, length, POSIX_FADV_WILLNEED);
            return LATE;
        }
    } /* a file system that cannot tell */
#endif
    while (length > 0) {
        ssize_t done = pread(file->fd, to, (size_t)length, offset);
        if (done <= 0)
            return LATE; /* who reads it once more learns why */
        to += done, offset += done, length -= done;
    }
    return FOUND;
}

static int fetch_piece(const File *file, const Piece *piece, uint8_t *to, int guards)
{
    int64_t length = piece->length;
    int state = FOUND, there;
    if (!length)
        ;
    else if (file->held)
        copy_past_cache(to, file->map + piece->offset, length);
    else if (!guards || length < LARGE || length > HUGE || piece->offset + length > file->mapped ||
             (there = is_there(file, piece)) < 0)
        state = read_piece(file, piece, to);
    else if (!there || !copy_guarded(to, file->map + piece->offset, length, piece->crc < 0))
        state = LATE;
    if (state == FOUND && piece->crc >= 0 && ~crc_of(~0u, to, length) != (uint32_t)piece->crc)
        state = DAMAGED;
    return state;
}

/* What became of each piece, two bits each, the first in the lowest: at most 31 of them. */
int64_t celeiro_fetch(int64_t fd, int64_t no_wait, const uint8_t *map, int64_t mapped, int64_t held,
                      const Piece *pieces, int64_t count, uint8_t *room)
{
    File file = {(int)fd, (int)no_wait, map, mapped, (int)held};
    int guards = map && no_wait && !held && is_ours();
    int64_t found = 0;
    for (int64_t at = 0; at < count; at++)
        found |= (int64_t)fetch_piece(&file, &pieces[at], room + pieces[at].place, guards) << 2 * at;
    return found;
}

/* Of the arguments, once for all threads; also makes ready what the rest needs. */
int celeiro_fetch_version(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
    return 3;
}
