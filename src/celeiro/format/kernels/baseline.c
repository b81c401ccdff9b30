/* Baseline JPEGs, or parts of them, to pixels: the very ones of libjpeg-turbo's accurate decoding.
 *
 *     header ─> bytes without stuffing ─> coefficients of an MCU ─> inverse DCT of some blocks
 *                                                                     │ strips of Y, Cb, Cr
 *                                rows of RGB <─ colours spread <──────┘ of three rows of MCUs
 *
 * What comes behind the coefficients is in lanes.h, for vectors of two widths.
 *
 * Huffman codes are the larger half of decoding. One look into a table of 10 bits tells up to two
 * coefficients, and nothing is looked for in between: no stuffed zeros, no markers. Of a crop, what
 * is above, below or beside it is parsed at most, and never transformed.
 *
 * Nothing that is unusual is done here, and nothing that is wrong is told here: whoever calls then
 * asks libjpeg, which knows it all (baseline.py). What is done is, bit for bit, what libjpeg does:
 * its `islow` inverse DCT, its `fancy` upsampling, its tables of colours (ITU-T T.81, JFIF 1.02).
 *
 * A JPEG may say anything. Each byte of the header is looked for before it is looked at; behind the
 * last byte of a scan there is memory for more than an MCU can take, whatever it holds, and before
 * each MCU the place is checked; a coefficient's place is one of 64, or one that nobody reads.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VERSION 2

int celeiro_baseline_version(void) { return VERSION; }

/* GCC for Windows keeps vectors where they are not aligned (its bug 54412). */
#if !defined(__x86_64__) || !defined(__GNUC__) || (defined(_WIN32) && !defined(__clang__))

int celeiro_baseline_able(void) { return 0; }
int celeiro_baseline_lanes(int most)
{
    (void)most;
    return 0;
}
int64_t celeiro_baseline_tables(void) { return 0; }
int celeiro_baseline(int64_t count, void *jobs, void *tables, uint8_t *room, int64_t size)
{
    (void)jobs, (void)tables, (void)room, (void)size;
    return (int)count;
}

#else

#include <immintrin.h>

#define FAST __attribute__((target("avx2,bmi,bmi2")))
#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define MOST_LANES 4
static int most_lanes = 2;

/* As baseline.py has them. */
enum { DONE = 0, UNUSUAL = 1, DAMAGED = 2 };

typedef struct {
    const uint8_t *data;
    int64_t bytes;
    uint8_t *out; /* of the picture's first pixel, wherever the part is */
    int64_t stride;
    int64_t height, width, channels; /* that the JPEG must have */
    int64_t top, left, bottom, right; /* of the part; what is around it may be overwritten */
    int64_t result;
} Job;

/* ---- Huffman codes ---- */

#define BITS 10 /* of a look: with more, tables leave the processor's first cache for nothing */
#define LOOKS (1 << BITS)
#define END 127 /* the skip of an end of block, behind which no place is one of 64 */

typedef struct {
    /* Of AC, for the next BITS bits, from the lowest bits on: 8 of how many of them are taken, 4 of
     * the place of the first coefficient from here, 4 of how many bits it takes alone, 8 of the
     * place of the second, 8 of how far to go, 16 of each value. One alone stands there twice.
     * Where the code is known and the value is longer: 0 bits, 8 of the code's length, 8 of the
     * symbol. */
    uint64_t pairs[LOOKS];
    /* Of DC: value << 16 | bits, or 0 bits as above. */
    uint32_t looks[LOOKS];
    int32_t beyond[17]; /* the first code of 16 bits that is longer, by length */
    int32_t shift[17];  /* from a code to its symbol's place, by length */
    uint8_t counts[16]; /* as the JPEG has them */
    uint8_t symbols[256];
    int32_t total; /* of symbols; 0 where there is no table */
} Table;

typedef struct {
    Table of[2][4]; /* DC, AC */
    uint16_t quant[4][64] __attribute__((aligned(16))); /* row by row */
} Tables;

/* Places of a block by their order (zigzag), and from 64 on the one that nobody reads. */
static const uint8_t PLACES[256] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    [64 ... 255] = 64,
};

INLINE int skip_of(int symbol)
{
    return symbol & 15 ? symbol >> 4 : symbol ? 15 : END;
}

INLINE int signed_value(int bits, int size)
{
    return size && bits < 1 << (size - 1) ? bits - (1 << size) + 1 : bits;
}

/* Looks of AC at one symbol become looks at two, where both are in sight. */
static void pair(Table *table)
{
    for (int at = 0; at < LOOKS; at++) {
        uint32_t look = table->looks[at];
        int bits = look & 15, skip = look >> 8 & 127, place = skip == END ? 0 : skip;
        uint64_t first = look >> 16, second = first;
        if (!bits) { /* a long one: as it is, or nothing */
            table->pairs[at] = look;
            continue;
        }
        int all = bits, other = place, on = skip + 1;
        uint32_t next = table->looks[at << bits & (LOOKS - 1)];
        int more = next & 15;
        if (skip != END && more && bits + more <= BITS) {
            int further = next >> 8 & 127;
            all += more;
            if (further != END)
                other = on + further, second = next >> 16;
            on += further + 1;
        }
        table->pairs[at] = second << 48 | first << 32 | (uint64_t)on << 24 | (uint64_t)other << 16 |
                           (uint64_t)(bits << 12 | place << 8 | all);
    }
}

/* Make a table of what a JPEG says, unless it is the one that is there. */
static int make(Table *table, const uint8_t *counts, const uint8_t *symbols, int total, int ac)
{
    if (table->total == total && !memcmp(table->counts, counts, 16) &&
        !memcmp(table->symbols, symbols, (size_t)total))
        return DONE;
    table->total = 0;
    memset(table->looks, 0, sizeof table->looks);
    int code = 0, at = 0;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->shift[length] = at - code;
        for (int n = counts[length - 1]; n; n--, at++, code++) {
            if (code + 1 >= 1 << length) /* of ones alone, which no code is, or of more bits */
                return DAMAGED;
            int symbol = symbols[at], size = ac ? symbol & 15 : symbol;
            if (size > (ac ? 10 : 11) || (ac && !size && symbol != 0 && symbol != 0xF0))
                return UNUSUAL;
            if (length > BITS)
                continue;
            uint32_t skip = ac ? (uint32_t)skip_of(symbol) : 0;
            for (int rest = 0, left = BITS - length; rest < 1 << left; rest++) {
                uint32_t look = (uint32_t)(symbol << 16 | length << 8);
                if (size <= left) {
                    int value = signed_value(rest >> (left - size), size);
                    look = (uint32_t)(uint16_t)value << 16 | skip << 8 | (uint32_t)(length + size);
                }
                table->looks[code << left | rest] = look;
            }
        }
        table->beyond[length] = code << (16 - length);
    }
    memcpy(table->counts, counts, 16);
    memcpy(table->symbols, symbols, (size_t)total);
    table->total = total;
    if (ac)
        pair(table);
    return DONE;
}

typedef struct {
    uint64_t bits; /* the next ones, from the top */
    int count;     /* how many of them */
    const uint8_t *next;
} Reader;

/* 56 bits at least; those that stand below them are looked at again. */
FAST INLINE void refill(Reader *reader)
{
    uint64_t word;
    memcpy(&word, reader->next, 8);
    reader->bits |= __builtin_bswap64(word) >> reader->count;
    reader->next += (63 - reader->count) >> 3;
    reader->count |= 56;
}

FAST INLINE int64_t bits_read(const Reader *reader, const uint8_t *start)
{
    return 8 * (reader->next - start) - reader->count;
}

typedef struct {
    int symbol, value;
} Symbol;

/* A code that is longer than a look: its length << 16 | its symbol, or -1. */
static __attribute__((noinline)) FAST int searched(const Table *table, uint64_t bits)
{
    int code = (int)(bits >> 48), length = BITS + 1;
    while (length <= 16 && code >= table->beyond[length])
        length++;
    int at = length > 16 ? -1 : (code >> (16 - length)) + table->shift[length];
    return at < 0 || at >= table->total ? -1 : length << 16 | table->symbols[at];
}

/* A symbol of which a look told no value; a symbol of -1 where there is none. */
FAST INLINE Symbol longer(const Table *table, Reader *reader, uint32_t look, const int ac)
{
    refill(reader);
    int length = look >> 8 & 255, symbol = look >> 16;
    if (UNLIKELY(!look)) {
        int found = searched(table, reader->bits);
        if (found < 0)
            return (Symbol){-1, 0};
        length = found >> 16, symbol = found & 0xFFFF;
    }
    int size = ac ? symbol & 15 : symbol;
    reader->bits <<= length;
    int value = size ? signed_value((int)(reader->bits >> (64 - size)), size) : 0;
    reader->bits <<= size;
    reader->count -= length + size;
    refill(reader);
    return (Symbol){symbol, value};
}

#define SPACE 80 /* values of a block, and behind them the place that nobody reads */

/* The coefficients of one block, as they stand in the JPEG: kept in `block`, or only passed over.
 * Less than 0 where it is damaged; else whether there are more than the first. */
FAST INLINE int parse(Reader *reader, const Table *restrict dc, const Table *restrict ac,
                      int *restrict level, int16_t *restrict block, const uint8_t *start,
                      const int keep)
{
    refill(reader);
    uint32_t look = dc->looks[reader->bits >> (64 - BITS)];
    if (UNLIKELY(!(look & 15))) {
        Symbol found = longer(dc, reader, look, 0);
        if (found.symbol < 0)
            return -1;
        *level = (int)((unsigned)*level + (unsigned)found.value);
    } else {
        reader->bits <<= look & 15;
        reader->count -= look & 15;
        *level = (int)((unsigned)*level + (unsigned)(int16_t)(look >> 16));
    }
    if (keep) {
        const __m256i zeros = _mm256_setzero_si256();
        for (int i = 0; i < 4; i++)
            _mm256_store_si256((__m256i *)block + i, zeros);
        block[0] = (int16_t)*level;
    }
    Reader here = *reader; /* of which nobody else knows, so that it stays in registers */
    unsigned at = 1;
    uint64_t pair;
#define LOOK                                                                                       \
    pair = ac->pairs[here.bits >> (64 - BITS)];                                                    \
    if (UNLIKELY(!(pair & 255))) {                                                                 \
        Symbol found = longer(ac, &here, (uint32_t)pair, 1);                                       \
        if (found.symbol < 0)                                                                      \
            return -1;                                                                             \
        at += (unsigned)skip_of(found.symbol);                                                     \
        if (keep)                                                                                  \
            block[PLACES[at]] = (int16_t)found.value;                                              \
        at++;                                                                                      \
    } else {                                                                                       \
        here.bits <<= pair & 63;                                                                   \
        here.count -= (int)(pair & 63);                                                            \
        if (keep) {                                                                                \
            block[PLACES[at + (pair >> 8 & 15)]] = (int16_t)(pair >> 32);                          \
            block[PLACES[at + (pair >> 16 & 255)]] = (int16_t)(pair >> 48);                        \
        }                                                                                          \
        at += (unsigned)(pair >> 24 & 255);                                                        \
    }                                                                                              \
    if (at > 63)                                                                                   \
        break;
    for (;;) { /* four looks take 40 of 56 bits; a longer one fills up by itself */
        refill(&here);
        LOOK LOOK LOOK LOOK
    }
#undef LOOK
    *reader = here;
    if (UNLIKELY(at != 64 && (at <= 128 || at > 191))) {
        /* Either the first of two was the block's last, or all is wrong. */
        if (!(pair & 255) || at - (pair >> 24 & 255) + (pair >> 8 & 15) != 63)
            return -1;
        int64_t back = bits_read(reader, start) - (int)(pair & 63) + (int)(pair >> 12 & 15);
        *reader = (Reader){0, 0, start + (back >> 3)};
        refill(reader);
        reader->bits <<= back & 7;
        reader->count -= (int)(back & 7);
    }
    return at != 129;
}

typedef struct {
    const int16_t *block;
    const uint16_t *quant;
    uint8_t *out;
    int64_t stride;
    int more; /* coefficients than the first */
} Block;

/* Values of a first row beyond which libjpeg, too, has not enough bits, and other ways to lose them. */
#define MOST 8191

/* A block of one level; whether it could be done. */
INLINE int flat(const Block *block)
{
    int level = (int16_t)(block->block[0] * block->quant[0]);
    if (UNLIKELY(level > MOST || level < -MOST))
        return 0;
    level = (level + 4) >> 3;
    level = level < -128 ? 0 : level > 127 ? 255 : level + 128;
    const uint64_t row = 0x0101010101010101ull * (uint64_t)level;
    for (int i = 0; i < 8; i++)
        memcpy(block->out + i * block->stride, &row, 8);
    return 1;
}

/* ---- what a header says ---- */

typedef struct {
    int components;
    int across, down; /* blocks of an MCU, of Y */
    int id[3], quant[3], dc[3], ac[3];
    int restart; /* MCUs from marker to marker, or 0 */
    int64_t height, width;
    const uint8_t *scan, *end;
} Header;

static int64_t two(const uint8_t *at) { return (int64_t)at[0] << 8 | at[1]; }

static int quants(Tables *tables, int have[4], const uint8_t *at, const uint8_t *end)
{
    for (; at < end; at += 65) {
        if (*at > 3 || end - at < 65)
            return UNUSUAL;
        for (int i = 0; i < 64; i++)
            tables->quant[*at][PLACES[i]] = at[1 + i];
        have[*at] = 1;
    }
    return DONE;
}

static int codes(Tables *tables, int have[2][4], const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        if (end - at < 17)
            return DAMAGED;
        int ac = *at >> 4, id = *at & 15, total = 0;
        for (int i = 1; i <= 16; i++)
            total += at[i];
        if (ac > 1 || id > 3 || !total || total > 256 || end - at < 17 + total)
            return DAMAGED;
        int why = make(&tables->of[ac][id], at + 1, at + 17, total, ac);
        if (why)
            return why;
        have[ac][id] = 1;
        at += 17 + total;
    }
    return DONE;
}

static int frame(Header *header, int sampling[3], const uint8_t *at, const uint8_t *end)
{
    if (header->components || end - at < 6 || at[0] != 8)
        return UNUSUAL;
    header->height = two(at + 1);
    header->width = two(at + 3);
    header->components = at[5];
    if ((header->components != 1 && header->components != 3) ||
        end - at != 6 + 3 * header->components)
        return UNUSUAL;
    for (int i = 0; i < header->components; i++) {
        header->id[i] = at[6 + 3 * i];
        sampling[i] = at[7 + 3 * i];
        header->quant[i] = at[8 + 3 * i];
        if (header->quant[i] > 3)
            return UNUSUAL;
    }
    return DONE;
}

static int scan(Header *header, int have_codes[2][4], int have_quants[4], const uint8_t *at,
                const uint8_t *end)
{
    if (!header->components || end - at != 4 + 2 * header->components ||
        at[0] != header->components)
        return UNUSUAL;
    for (int i = 0; i < header->components; i++) {
        int both = at[2 + 2 * i], dc = both >> 4, ac = both & 15;
        if (at[1 + 2 * i] != header->id[i] || dc > 3 || ac > 3 || !have_codes[0][dc] ||
            !have_codes[1][ac] || !have_quants[header->quant[i]])
            return UNUSUAL;
        header->dc[i] = dc, header->ac[i] = ac;
    }
    at += 1 + 2 * header->components;
    return at[0] || at[1] != 63 || at[2] ? UNUSUAL : DONE;
}

static int header_of(const Job *job, Tables *tables, Header *header)
{
    const uint8_t *at = job->data, *end = at + job->bytes;
    int sampling[3] = {0}, have_quants[4] = {0}, have_codes[2][4] = {{0}}, colours = 0, why = DONE;
    memset(header, 0, sizeof *header);
    if (job->bytes < 4 || at[0] != 0xFF || at[1] != 0xD8)
        return DAMAGED;
    for (at += 2; !header->scan;) {
        if (end - at < 4 || at[0] != 0xFF)
            return DAMAGED;
        int marker = at[1];
        int64_t length = two(at + 2);
        if (length < 2 || length > end - at - 2)
            return DAMAGED;
        const uint8_t *from = at + 4;
        at += 2 + length;
        if (marker == 0xDB)
            why = quants(tables, have_quants, from, at);
        else if (marker == 0xC4)
            why = codes(tables, have_codes, from, at);
        else if (marker == 0xC0 || marker == 0xC1)
            why = frame(header, sampling, from, at);
        else if (marker == 0xDD && length == 4)
            header->restart = (int)two(from);
        else if (marker == 0xE0) { /* of JFIF, by which colours are what they should be */
            if (length >= 16 && !memcmp(from, "JFIF", 5)) {
                if (from[5] != 1) /* a release that libjpeg warns of */
                    return UNUSUAL;
                colours = 1;
            }
        }
        else if (marker == 0xEE && length >= 14 && !memcmp(from, "Adobe", 5) && from[11] == 1)
            colours = 1;
        else if (marker == 0xDA) {
            why = scan(header, have_codes, have_quants, from, at);
            header->scan = at;
        } else if (marker != 0xFE && (marker < 0xE1 || marker > 0xEF || marker == 0xEE))
            return UNUSUAL;
        if (why)
            return why;
    }
    header->end = end;
    if (header->height != job->height || header->width != job->width ||
        header->width < 8) /* libjpeg spreads the colours of the narrowest otherwise */
        return UNUSUAL;
    if (header->components != job->channels)
        return UNUSUAL;
    for (int i = header->components == 1 ? 0 : 1; i < header->components; i++)
        if (sampling[i] != 0x11)
            return UNUSUAL;
    if (header->components == 3) {
        if (sampling[0] != 0x11 && sampling[0] != 0x21 && sampling[0] != 0x22)
            return UNUSUAL;
        if (!colours && !(header->id[0] == 1 && header->id[1] == 2 && header->id[2] == 3))
            return UNUSUAL;
    }
    header->across = sampling[0] >> 4;
    header->down = sampling[0] & 15;
    return DONE;
}

/* ---- a picture ---- */

#define STRIPS 3 /* rows of MCUs that stand at a time: colours are spread from the next row too */
/* Columns that may be written to and read behind a row; the last is column -1 of the next one. */
#define SPARE 128
#define BEHIND 4096 /* bytes behind a scan: more than the 1,300 that an MCU can take */

#define MOST_BLOCKS 6 /* of an MCU, with the samplings that are done here */

/* Of a block of each MCU. */
typedef struct {
    int component;
    const Table *dc, *ac;
    const uint16_t *quant;
    int64_t step;   /* bytes from MCU to MCU */
    int64_t offset; /* bytes from the MCU's first sample of this component */
} Place;

typedef struct {
    Header is;
    Place places[MOST_BLOCKS];
    int count; /* of blocks */
    const Job *job;
    Tables *tables;
    uint8_t *plane[3];
    int64_t stride[3];
    int rows[3];         /* of a strip */
    uint8_t *colours[2]; /* a row of each, as dense as the picture's */
    uint8_t *data, *stop; /* of the scan without stuffing */
    const uint8_t *marker; /* behind it */
    int16_t *blocks;
    int level[3];
    int lanes; /* of vectors */
    Block waiting[MOST_LANES]; /* for the inverse DCT */
    int waits;
} Picture;

/* Take memory for a picture; whether there is enough. */
static int lay(Picture *picture, uint8_t *room, int64_t size)
{
    const Header *is = &picture->is;
    const int64_t mcus = (is->width + 8 * is->across - 1) / (8 * is->across);
    const int64_t wide = mcus * 8 * is->across + SPARE;
    uint8_t *at = room + (-(uintptr_t)room & 63), *end = room + size;
    picture->blocks = (int16_t *)at;
    at += MOST_LANES * SPACE * sizeof(int16_t);
    for (int c = 0; c < is->components; c++) {
        picture->rows[c] = c ? 8 : 8 * is->down;
        picture->stride[c] = (mcus * 8 * (c ? 1 : is->across) + SPARE);
        picture->plane[c] = at;
        at += STRIPS * picture->rows[c] * picture->stride[c];
        for (int i = 0; i < (c ? 1 : is->across * is->down); i++)
            picture->places[picture->count++] = (Place){
                .component = c,
                .dc = &picture->tables->of[0][is->dc[c]],
                .ac = &picture->tables->of[1][is->ac[c]],
                .quant = picture->tables->quant[is->quant[c]],
                .step = 8 * (c ? 1 : is->across),
                .offset = i / is->across * 8 * picture->stride[c] + i % is->across * 8,
            };
    }
    picture->colours[0] = at;
    picture->colours[1] = at += wide;
    at += wide;
    picture->data = at;
    return picture->data + (is->end - is->scan) + BEHIND <= end;
}

INLINE uint8_t *row_of(const Picture *picture, int c, int64_t y)
{
    return picture->plane[c] + y % (STRIPS * picture->rows[c]) * picture->stride[c];
}

/* ---- samples and pixels: with vectors of 32 bytes, or of 64 where the processor has them ---- */

#define LANES 2
#include "lanes.h"
#define LANES 4
#include "lanes.h"

/* The scan, or its part up to the next marker, without the zeros behind each 0xFF. */
static int unstuff(Picture *picture, const uint8_t *from)
{
    const uint8_t *end = picture->is.end, *ff;
    uint8_t *to = picture->data;
    for (; (ff = memchr(from, 0xFF, (size_t)(end - from))) && ff + 1 < end; from = ff + 2) {
        memcpy(to, from, (size_t)(ff - from));
        to += ff - from;
        if (ff[1]) {
            picture->marker = ff;
            picture->stop = to;
            memset(to, 0, 64);
            memset(picture->level, 0, sizeof picture->level);
            return DONE;
        }
        *to++ = 0xFF;
    }
    return DAMAGED;
}

/* The blocks that wait become samples; whether it could be done. */
FAST INLINE int waited(Picture *picture)
{
    Block *blocks = picture->waiting;
    const int count = picture->waits;
    int more = 0, done = 1;
    picture->waits = 0;
    for (int i = 0; i < count; i++)
        more |= blocks[i].more;
    if (more) {
        for (int i = count; i < picture->lanes; i++)
            blocks[i] = blocks[i - 1]; /* the last one again, for each lane has one */
        return picture->lanes == 2 ? transform_2(blocks) : transform_4(blocks);
    }
    for (int i = 0; i < count; i++)
        done &= flat(blocks + i);
    return done;
}

/* One MCU: its coefficients, and where it is `kept` its samples too. `base` is where each component's
 * row of MCUs begins. */
FAST INLINE int mcu(Picture *picture, Reader *reader, uint8_t *const base[3], int64_t column,
                    const int keep)
{
    const int count = picture->count;
    for (int i = 0; i < count; i++) {
        const Place *place = picture->places + i;
        const int c = place->component;
        int16_t *block = picture->blocks + SPACE * picture->waits;
        const int more = parse(reader, place->dc, place->ac, &picture->level[c], block,
                               picture->data, keep);
        if (UNLIKELY(more < 0))
            return DAMAGED;
        if (!keep)
            continue;
        uint8_t *out = base[c] + column * place->step + place->offset;
        picture->waiting[picture->waits++] =
            (Block){block, place->quant, out, picture->stride[c], more};
        if (picture->waits == picture->lanes && !waited(picture))
            return UNUSUAL;
    }
    return DONE;
}

/* A column more on both sides of a row of MCUs' colours, which are spread from there. */
static void extend(const Picture *picture, uint8_t *const base[3])
{
    const int64_t columns = (picture->is.width + 1) / 2;
    for (int c = 1; c < 3; c++)
        for (int i = 0; i < picture->rows[c]; i++) {
            uint8_t *samples = base[c] + i * picture->stride[c];
            samples[-1] = samples[0];
            samples[columns] = samples[columns - 1];
        }
}

/* Whether a scan, or its part, was read to its end: what is left fills a byte. */
FAST static int is_read(const Picture *picture, const Reader *reader)
{
    int64_t left = 8 * (picture->stop - picture->data) - bits_read(reader, picture->data);
    return left >= 0 && left < 8;
}

FAST static int restart(Picture *picture, Reader *reader, int number)
{
    const uint8_t *marker = picture->marker;
    if (!is_read(picture, reader) || marker[1] != 0xD0 + number)
        return DAMAGED;
    *reader = (Reader){0, 0, picture->data};
    return unstuff(picture, marker + 2);
}

FAST static int decode(const Job *job, Tables *tables, uint8_t *room, int64_t size)
{
    Picture picture = {.job = job, .tables = tables, .lanes = most_lanes};
    const Header *is = &picture.is;
    int why = header_of(job, tables, &picture.is);
    if (why)
        return why;
    if (!lay(&picture, room, size))
        return UNUSUAL;
    if (unstuff(&picture, is->scan))
        return DAMAGED;
    const int64_t high = 8 * is->down, wide = 8 * is->across;
    const int64_t down = (is->height + high - 1) / high, across = (is->width + wide - 1) / wide;
    /* The part with what its colours are spread from: two rows and two columns around it. */
    int64_t first = (job->top < 2 ? 0 : job->top - 2) / high, last = (job->bottom + 1) / high + 1;
    int64_t begin = (job->left < 4 ? 0 : job->left - 4) / wide, end = (job->right + 3) / wide + 1;
    last = last < down ? last : down;
    Reader reader = {0, 0, picture.data};
    int64_t shown = job->top, left = is->restart;
    for (int64_t row = 0, number = 0; row < last; row++) {
        uint8_t *base[3] = {0};
        for (int c = 0; c < is->components; c++)
            base[c] = row_of(&picture, c, row * picture.rows[c]);
        for (int64_t column = 0; column < across; column++, left--) {
            if (is->restart && !left) {
                if (restart(&picture, &reader, number++ & 7))
                    return DAMAGED;
                left = is->restart;
            }
            if (UNLIKELY(reader.next > picture.stop + 8))
                return DAMAGED;
            why = row >= first && column >= begin && column < end
                      ? mcu(&picture, &reader, base, column, 1)
                      : mcu(&picture, &reader, base, column, 0);
            if (UNLIKELY(why))
                return why;
        }
        if (picture.waits && !waited(&picture))
            return UNUSUAL;
        if (is->across == 2)
            extend(&picture, base);
        int64_t ready = row + 1 == last ? job->bottom : (row + 1) * high - 1;
        for (; shown < ready && shown < job->bottom; shown++)
            picture.lanes == 2 ? show_2(&picture, shown) : show_4(&picture, shown);
    }
    if (last == down)
        return is_read(&picture, &reader) && picture.marker[1] == 0xD9 ? DONE : DAMAGED;
    return bits_read(&reader, picture.data) > 8 * (picture.stop - picture.data) ? DAMAGED : DONE;
}

/* From now on vectors have so many lanes at most; how many of them they have then. */
int celeiro_baseline_lanes(int most)
{
    const int wide = most >= MOST_LANES && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
    return most_lanes = wide ? MOST_LANES : 2;
}

int celeiro_baseline_able(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}

/* Bytes of the tables of a thread, which are zero before their first use. */
int64_t celeiro_baseline_tables(void) { return sizeof(Tables); }

/* Do some jobs; how many were not done, whose results say why. */
int celeiro_baseline(int64_t count, Job *jobs, void *tables, uint8_t *room, int64_t size)
{
    int not_done = 0;
    for (Job *job = jobs; job < jobs + count; job++) {
        job->result = decode(job, tables, room, size);
        not_done += job->result != DONE;
    }
    return not_done;
}

#endif
