/* Crop, resize, flip, look up and lay out one uint8 picture in a single pass.
 *
 * The filter is the antialiased triangle of Pillow and torchvision, or their cubic. The order of every sum is
 * fixed (tap 0 first) and nothing is contracted, so that resample.py's NumPy gives the same bits.
 *
 * Four rows of the result go together, interleaved: one vector holds a value of each of them.
 *
 *     source rows --down--> float band[column][channel][4] --across--> int32 levels[x][channel][4]
 *                                                                     --store--> table, layout
 *
 * Nothing is checked here: resample.py has done so, and makes the only calls.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <float.h>

#if FLT_EVAL_METHOD < 0 || FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2
#error "floats are computed wider than they are here: the results would differ from NumPy's"
#endif

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));
typedef float f8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));

/* One copy of a function for each kind of processor; musl and macOS cannot choose between them. */
#if !defined(__x86_64__) || !defined(__GLIBC__) || defined(__clang__)
#define EACH_PROCESSOR
#elif __GNUC__ >= 12
#define EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#endif
#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 4 };

/* As `_JOB` in resample.py packs it. */
typedef struct {
    const uint8_t *source; /* first pixel that may be read */
    const void *table;     /* [channels][256] of `item` bytes, or NULL: the levels themselves */
    uint8_t *out;          /* first pixel to write */
    int64_t stride;        /* bytes from one source row to the next */
    int64_t rows, columns; /* that may be read */
    int64_t channels;
    double top, left, height, width; /* the box that is resized, in pixels from `source`; */
                                     /* where it is mirrored, `left` counts from the last column */
    int64_t grid_rows, grid_columns; /* the size that it is resized to */
    int64_t y, x, out_rows, out_columns; /* which part of that grid is wanted */
    int64_t out_row;       /* bytes from one row of the result to the next */
    int64_t out_plane;     /* bytes from one channel's plane to the next; 0: channels stand last */
    int64_t item;          /* bytes of one value: 1, 2, 4, 8 */
    int64_t mirror;        /* the columns are mirrored before they are resized */
    int64_t flip;          /* ... and afterwards */
    int64_t cubic;         /* rather than the triangle */
} Job;

typedef struct {
    int64_t count; /* taps of each wanted pixel */
    int64_t *start;
    float *weight; /* [wanted][room] */
    int64_t room;
} Taps;

int celeiro_resample_version(void) { return 2; }

/* Of Keys, a = -1/2; 0 <= far. */
static double cubic_weight(double far) {
    if (far < 1) return (1.5 * far - 2.5) * far * far + 1;
    return far < 2 ? (((far - 5) * far + 8) * far - 4) * -0.5 : 0;
}

static int taps_init(Taps *taps, double start, double length, int64_t pixels, int64_t grid,
                     int64_t first, int64_t wanted, int cubic) {
    double scale = length / (double)grid, wide = scale < 1 ? 1 : scale, inverse = 1 / wide;
    double reach = cubic ? 2 * wide : wide;
    taps->room = (int64_t)(2 * reach) + 3;
    taps->count = 1;
    taps->start = malloc(sizeof(int64_t) * wanted);
    taps->weight = calloc(wanted * taps->room, sizeof(float));
    double *w = malloc(sizeof(double) * taps->room);
    if (!taps->start || !taps->weight || !w) { free(w); return -1; }
    for (int64_t i = 0; i < wanted; i++) {
        double centre = start + ((double)(first + i) + 0.5) * scale;
        double low = centre - reach + 0.5, sum = 0;
        int64_t from = low < 0 ? 0 : (int64_t)low, to = (int64_t)(centre + reach + 0.5);
        if (to > pixels) to = pixels;
        if (from > pixels - 1) from = pixels - 1; /* never so; but memory must not depend on it */
        float *into = taps->weight + i * taps->room;
        for (int64_t k = 0; k < to - from; k++) {
            double far = ((double)(from + k) - centre + 0.5) * inverse;
            if (far < 0) far = -far;
            w[k] = cubic ? cubic_weight(far) : far < 1 ? 1 - far : 0;
            sum += w[k];
        }
        int64_t last = 0;
        for (int64_t k = 0; k < to - from; k++) {
            into[k] = (float)(w[k] / sum);
            if (into[k] != 0) last = k;
        }
        taps->start[i] = from;
        if (last + 1 > taps->count) taps->count = last + 1;
    }
    free(w);
    return 0;
}

static void taps_free(Taps *taps) { free(taps->start); free(taps->weight); }

/* `n` source values of four result rows each, summed down the taps. */
INLINE void down_n(const uint8_t *const *row, const float *weight, int64_t taps, int64_t n,
                   float *restrict band) {
    for (int64_t i = 0; i < n; i++) {
        float a = weight[0] * row[0][i], b = weight[1] * row[1][i];
        float c = weight[2] * row[2][i], d = weight[3] * row[3][i];
        for (int64_t k = 1; k < taps; k++) {
            a += weight[4 * k] * row[4 * k][i];
            b += weight[4 * k + 1] * row[4 * k + 1][i];
            c += weight[4 * k + 2] * row[4 * k + 2][i];
            d += weight[4 * k + 3] * row[4 * k + 3][i];
        }
        band[4 * i] = a; band[4 * i + 1] = b; band[4 * i + 2] = c; band[4 * i + 3] = d;
    }
}

EACH_PROCESSOR static void down(const uint8_t *const *row, const float *weight, int64_t taps,
                                int64_t n, float *restrict band) {
    switch (taps) {
    case 1: down_n(row, weight, 1, n, band); break;
    case 2: down_n(row, weight, 2, n, band); break;
    case 3: down_n(row, weight, 3, n, band); break;
    case 4: down_n(row, weight, 4, n, band); break;
    case 5: down_n(row, weight, 5, n, band); break;
    default:
        down_n(row, weight, 5, n, band);
        for (int64_t k = 5; k < taps; k++)
            for (int64_t i = 0; i < n; i++)
                for (int r = 0; r < ROWS; r++)
                    band[4 * i + r] += weight[4 * k + r] * row[4 * k + r][i];
    }
}

/* Sums of the triangle exceed 255 by their rounding alone, which only thousands of taps can make
 * another level: the few that are across with at most MANY down (by 0.03) need no cap. Those of the
 * cubic leave 0-255 at every edge. */
enum { MANY = 2000 };
#define CAPPED(SUM, INTS)                                                                          \
    if (capped) {                                                                                  \
        INTS over = SUM > 255.5f;                                                                  \
        SUM = (__typeof__(SUM))(((INTS)SUM & ~over) | ((INTS)((__typeof__(SUM)){0} + 255.5f) & over));        \
        INTS under = SUM < 0.0f;                                                                   \
        SUM = (__typeof__(SUM))((INTS)SUM & ~under);                                               \
    }

/* Three channels are twelve floats: a vector of eight and one of four. */
INLINE void across_3(const float *band, const Taps *taps, int64_t count, int capped,
                     int64_t wanted, int32_t *levels) {
    for (int64_t x = 0; x < wanted; x++, levels += 12) {
        const float *from = band + taps->start[x] * 12, *w = taps->weight + x * taps->room;
        f8 sum8 = (f8){0} + 0.5f;
        f4 sum4 = (f4){0} + 0.5f;
        for (int64_t k = 0; k < count; k++, from += 12) {
            f8 value8;
            f4 value4;
            memcpy(&value8, from, sizeof value8);
            memcpy(&value4, from + 8, sizeof value4);
            sum8 += value8 * w[k];
            sum4 += value4 * w[k];
        }
        CAPPED(sum8, i8)
        CAPPED(sum4, i4)
        i8 level8 = __builtin_convertvector(sum8, i8);
        i4 level4 = __builtin_convertvector(sum4, i4);
        memcpy(levels, &level8, sizeof level8);
        memcpy(levels + 8, &level4, sizeof level4);
    }
}

INLINE void across_any(const float *band, const Taps *taps, int64_t count, int capped,
                       int64_t channels, int64_t wanted, int32_t *levels) {
    for (int64_t x = 0; x < wanted; x++) {
        const float *from = band + taps->start[x] * channels * 4, *w = taps->weight + x * taps->room;
        for (int64_t c = 0; c < channels; c++, levels += 4) {
            f4 sum = (f4){0} + 0.5f;
            for (int64_t k = 0; k < count; k++) {
                f4 value;
                memcpy(&value, from + (k * channels + c) * 4, sizeof value);
                sum += value * w[k];
            }
            CAPPED(sum, i4)
            i4 level = __builtin_convertvector(sum, i4);
            memcpy(levels, &level, sizeof level);
        }
    }
}

EACH_PROCESSOR static void across(const float *band, const Taps *taps, int64_t taps_down,
                                  int64_t channels, int64_t wanted, int cubic,
                                  int32_t *levels) {
    int64_t count = taps->count;
    int capped = count > 5 || taps_down > MANY || cubic;
    if (channels == 1 && capped) { across_any(band, taps, count, 1, 1, wanted, levels); return; }
    if (channels == 1) { across_any(band, taps, count, 0, 1, wanted, levels); return; }
    if (channels != 3) { across_any(band, taps, count, capped, channels, wanted, levels); return; }
    switch (capped ? 0 : count) {
    case 1: case 2: across_3(band, taps, 2, 0, wanted, levels); break;
    case 3: across_3(band, taps, 3, 0, wanted, levels); break;
    case 4: across_3(band, taps, 4, 0, wanted, levels); break;
    case 5: across_3(band, taps, 5, 0, wanted, levels); break;
    default: across_3(band, taps, count, 1, wanted, levels);
    }
}

/* One row: levels that stand `pixel` and `channel` apart, through the table, into the layout. */
#define STORE(NAME, LEVEL, TYPE, LOOK)                                                             \
    INLINE void NAME##_row(const LEVEL *from, int64_t pixel, const TYPE *table, TYPE *into,        \
                           int64_t step, int64_t n) {                                              \
        int64_t x = 0;                                                                             \
        (void)table;                                                                               \
        for (; x + 4 <= n; x += 4, from += 4 * pixel, into += 4 * step) {                          \
            TYPE a = LOOK(from[0]), b = LOOK(from[pixel]);                                         \
            TYPE c = LOOK(from[2 * pixel]), d = LOOK(from[3 * pixel]);                             \
            into[0] = a; into[step] = b; into[2 * step] = c; into[3 * step] = d;                   \
        }                                                                                          \
        for (; x < n; x++, from += pixel, into += step) *into = LOOK(*from);                       \
    }                                                                                              \
    static void NAME(const Job *job, const LEVEL *level, int64_t pixel, int64_t channel,           \
                     uint8_t *out) {                                                               \
        int64_t n = job->out_columns, plane = job->out_plane ? job->out_plane : job->item;         \
        if (job->flip) { level += (n - 1) * pixel; pixel = -pixel; }                               \
        for (int64_t c = 0; c < job->channels; c++) {                                              \
            const TYPE *table = (const TYPE *)job->table + (job->table ? 256 * c : 0);             \
            const LEVEL *from = level + c * channel;                                               \
            TYPE *into = (TYPE *)(out + c * plane);                                                \
            if (job->out_plane && pixel == 12) NAME##_row(from, 12, table, into, 1, n);            \
            else if (job->out_plane && pixel == -12) NAME##_row(from, -12, table, into, 1, n);     \
            else NAME##_row(from, pixel, table, into, job->out_plane ? 1 : job->channels, n);      \
        }                                                                                          \
    }
#define AS_IT_IS(level) (uint8_t)(level)
#define LOOKED_UP(level) table[level]
#define STORES(NAME, LEVEL)                                                                        \
    STORE(NAME##_0, LEVEL, uint8_t, AS_IT_IS)                                                      \
    STORE(NAME##_1, LEVEL, uint8_t, LOOKED_UP)                                                     \
    STORE(NAME##_2, LEVEL, uint16_t, LOOKED_UP)                                                    \
    STORE(NAME##_4, LEVEL, uint32_t, LOOKED_UP)                                                    \
    STORE(NAME##_8, LEVEL, uint64_t, LOOKED_UP)                                                    \
    static void NAME(const Job *job, const LEVEL *level, int64_t pixel, int64_t channel,           \
                     uint8_t *out) {                                                               \
        if (!job->table) NAME##_0(job, level, pixel, channel, out);                                \
        else if (job->item == 1) NAME##_1(job, level, pixel, channel, out);                        \
        else if (job->item == 2) NAME##_2(job, level, pixel, channel, out);                        \
        else if (job->item == 4) NAME##_4(job, level, pixel, channel, out);                        \
        else NAME##_8(job, level, pixel, channel, out);                                            \
    }
STORES(store_levels, int32_t)
STORES(store_pixels, uint8_t)

static void mirror(f4 *band, int64_t columns, int64_t channels) {
    for (int64_t a = 0, b = columns - 1; a < b; a++, b--)
        for (int64_t c = 0; c < channels; c++) {
            f4 kept = band[a * channels + c];
            band[a * channels + c] = band[b * channels + c];
            band[b * channels + c] = kept;
        }
}

/* Leave out the columns that no wanted pixel needs. */
static void narrow(Job *job, Taps *taps) {
    int64_t first = job->columns, end = 0;
    for (int64_t x = 0; x < job->out_columns; x++) {
        int64_t last = taps->start[x] + taps->count;
        if (taps->start[x] < first) first = taps->start[x];
        if (last > end) end = last;
    }
    if (end > job->columns) end = job->columns;
    for (int64_t x = 0; x < job->out_columns; x++) taps->start[x] -= first;
    job->source += (job->mirror ? job->columns - end : first) * job->channels;
    job->columns = end - first;
}

static int resized(const Job *job, Taps *down_taps, Taps *across_taps) {
    int64_t channels = job->channels, n = job->columns * channels, taps = down_taps->count;
    int cubic = job->cubic != 0;
    /* The taps that weigh nothing, and the fourth lane, reach past the last column. */
    size_t band_size = sizeof(float) * 4 * (n + (across_taps->count + 1) * channels + 4);
    f4 *band = NULL;
    if (posix_memalign((void **)&band, 64, band_size)) band = NULL;
    int32_t *levels = malloc(sizeof *levels * job->out_columns * channels * 4);
    const uint8_t **row = malloc(sizeof *row * 4 * taps);
    float *weight = malloc(sizeof *weight * 4 * taps);
    int bad = !band || !levels || !row || !weight;
    if (!bad) memset(band, 0, band_size);
    for (int64_t y = 0; !bad && y < job->out_rows; y += ROWS) {
        for (int r = 0; r < ROWS; r++) {
            int64_t at = y + r < job->out_rows ? y + r : job->out_rows - 1;
            for (int64_t k = 0; k < taps; k++) {
                int64_t from = down_taps->start[at] + k;
                if (from >= job->rows) from = job->rows - 1; /* weighs nothing */
                row[4 * k + r] = job->source + from * job->stride;
                weight[4 * k + r] = down_taps->weight[at * down_taps->room + k];
            }
        }
        down(row, weight, taps, n, (float *)band);
        if (job->mirror) mirror(band, job->columns, channels);
        across((float *)band, across_taps, taps, channels, job->out_columns, cubic, levels);
        for (int r = 0; r < ROWS && y + r < job->out_rows; r++)
            store_levels(job, levels + r, channels * 4, 4, job->out + (y + r) * job->out_row);
    }
    free(band); free(levels); free(row); free(weight);
    return -bad;
}

/* 0, or -1 where memory is short. */
int celeiro_resample(const Job *job) {
    if (job->height == (double)job->grid_rows && job->width == (double)job->grid_columns &&
        job->top == (double)(int64_t)job->top && job->left == (double)(int64_t)job->left) {
        Job copy = *job;
        copy.flip = job->flip != job->mirror;
        int64_t left = (int64_t)job->left;
        left = job->mirror ? job->columns - left - job->x - job->out_columns : left + job->x;
        const uint8_t *from = job->source + ((int64_t)job->top + job->y) * job->stride;
        for (int64_t y = 0; y < job->out_rows; y++)
            store_pixels(&copy, from + y * job->stride + left * job->channels, job->channels, 1,
                  job->out + y * job->out_row);
        return 0;
    }
    Taps rows = {0}, columns = {0};
    Job part = *job;
    int cubic = job->cubic != 0;
    int bad = taps_init(&rows, job->top, job->height, job->rows, job->grid_rows, job->y,
                        job->out_rows, cubic) ||
              taps_init(&columns, job->left, job->width, job->columns, job->grid_columns, job->x,
                        job->out_columns, cubic);
    if (!bad) {
        narrow(&part, &columns);
        bad = resized(&part, &rows, &columns);
    }
    taps_free(&rows); taps_free(&columns);
    return -bad;
}
