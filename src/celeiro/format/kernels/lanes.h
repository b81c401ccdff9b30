/* What baseline.c does with vectors, for vectors of two widths: included once for each.
 *
 * A vector has LANES lanes of 16 bytes. In the inverse DCT each lane is a block of its own; where
 * colours are spread and mixed, all of them are neighbours in a row.
 */

#if LANES == 2
#define TARGET __attribute__((target("avx2,bmi,bmi2")))
#define NAME(name) name##_2
#define V __m256i
#define OP(name) _mm256_##name
#define LOAD(at) _mm256_loadu_si256((const __m256i *)(at))
#define STORE(at, v) _mm256_storeu_si256((__m256i *)(at), v)
#define OR(a, b) _mm256_or_si256(a, b)
#define ZERO _mm256_setzero_si256()
#define IS_ZERO(v) _mm256_testz_si256(v, v)
#define LANE(v, at) _mm256_extracti128_si256(v, at)
#define EACH_LANE(DO) DO(0) DO(1)
/* Lanes of two vectors in turn: the first half of them, and the others. */
#define FIRST_LANES(a, b) _mm256_permute2x128_si256(a, b, 0x20)
#define LAST_LANES(a, b) _mm256_permute2x128_si256(a, b, 0x31)
#define BESIDE(of, row) NAME(beside)(of[0] + (row), of[1] + (row))
TARGET INLINE V NAME(beside)(const __m128i *a, const __m128i *b)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_load_si128(a)), _mm_load_si128(b), 1);
}
#elif LANES == 4
#define TARGET __attribute__((target("avx512bw,avx512vl,avx512vbmi,avx2,bmi,bmi2")))
#define NAME(name) name##_4
#define V __m512i
#define OP(name) _mm512_##name
#define LOAD(at) _mm512_loadu_si512(at)
#define STORE(at, v) _mm512_storeu_si512(at, v)
#define OR(a, b) _mm512_or_si512(a, b)
#define ZERO _mm512_setzero_si512()
#define IS_ZERO(v) !_mm512_test_epi16_mask(v, v)
#define LANE(v, at) _mm512_extracti32x4_epi32(v, at)
#define EACH_LANE(DO) DO(0) DO(1) DO(2) DO(3)
#define FIRST_LANES(a, b)                                                                          \
    _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b)
#define LAST_LANES(a, b)                                                                           \
    _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), b)
#define BESIDE(of, row) NAME(beside)(of[0] + (row), of[1] + (row), of[2] + (row), of[3] + (row))
TARGET INLINE V NAME(beside)(const __m128i *a, const __m128i *b, const __m128i *c, const __m128i *d)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(beside_2(a, b)), beside_2(c, d), 1);
}
#else
#error "wanted LANES of 2 or 4"
#endif

/* ---- inverse DCT ---- */

/* Two constants of 13 binary places, for pairs of values. */
#define BOTH(a, b) OP(set1_epi32)((int)((uint32_t)(uint16_t)(b) << 16 | (uint16_t)(a)))

/* Eight vectors of eight values a lane, one direction. After Loeffler, Ligtenberg and Moschytz
 * (Practical fast 1-D DCT algorithms with 11 multiplications, 1989), with libjpeg's constants and
 * its rounding; two of its products are one instruction, and their sums are exact. */
TARGET INLINE void NAME(one_way)(V v[8], const int shift)
{
    const V half = OP(set1_epi32)(1 << (shift - 1)), zero = ZERO;
    const V sum = OP(add_epi16)(v[0], v[4]), less = OP(sub_epi16)(v[0], v[4]);
    const V z3 = OP(add_epi16)(v[7], v[3]), z4 = OP(add_epi16)(v[5], v[1]);
    V even[2][4], odd[2][4];
#define PART(at, unpack)                                                                           \
    {                                                                                              \
        V two = OP(unpack)(v[2], v[6]), ends = OP(unpack)(v[7], v[1]);                             \
        V inner = OP(unpack)(v[5], v[3]), both = OP(unpack)(z3, z4);                               \
        V t0 = OP(add_epi32)(OP(srai_epi32)(OP(unpack)(zero, sum), 3), half);                      \
        V t1 = OP(add_epi32)(OP(srai_epi32)(OP(unpack)(zero, less), 3), half);                     \
        V t2 = OP(madd_epi16)(two, BOTH(4433, 4433 - 15137));                                      \
        V t3 = OP(madd_epi16)(two, BOTH(4433 + 6270, 4433));                                       \
        even[at][0] = OP(add_epi32)(t0, t3);                                                       \
        even[at][1] = OP(add_epi32)(t1, t2);                                                       \
        even[at][2] = OP(sub_epi32)(t1, t2);                                                       \
        even[at][3] = OP(sub_epi32)(t0, t3);                                                       \
        V y3 = OP(madd_epi16)(both, BOTH(9633 - 16069, 9633));                                     \
        V y4 = OP(madd_epi16)(both, BOTH(9633, 9633 - 3196));                                      \
        odd[at][0] = OP(add_epi32)(OP(madd_epi16)(ends, BOTH(-7373, 12299 - 7373)), y4);           \
        odd[at][1] = OP(add_epi32)(OP(madd_epi16)(inner, BOTH(-20995, 25172 - 20995)), y3);        \
        odd[at][2] = OP(add_epi32)(OP(madd_epi16)(inner, BOTH(16819 - 20995, -20995)), y4);        \
        odd[at][3] = OP(add_epi32)(OP(madd_epi16)(ends, BOTH(2446 - 7373, -7373)), y3);            \
    }
    PART(0, unpacklo_epi16)
    PART(1, unpackhi_epi16)
#undef PART
#define SHIFTED(operation, i)                                                                      \
    OP(packs_epi32)(OP(srai_epi32)(OP(operation)(even[0][i], odd[0][i]), shift),                   \
                    OP(srai_epi32)(OP(operation)(even[1][i], odd[1][i]), shift))
    for (int i = 0; i < 4; i++) {
        v[i] = SHIFTED(add_epi32, i);
        v[7 - i] = SHIFTED(sub_epi32, i);
    }
#undef SHIFTED
}

/* Rows become columns. */
TARGET INLINE void NAME(transpose)(V v[8])
{
    V a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = OP(unpacklo_epi16)(v[i], v[i + 1]);
        a[i + 1] = OP(unpackhi_epi16)(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = OP(unpacklo_epi32)(a[i + j], a[i + j + 2]);
            b[i + 2 * j + 1] = OP(unpackhi_epi32)(a[i + j], a[i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        v[2 * i] = OP(unpacklo_epi64)(b[i], b[i + 4]);
        v[2 * i + 1] = OP(unpackhi_epi64)(b[i], b[i + 4]);
    }
}

/* Columns become rows of bytes: each vector has two of each block. */
TARGET INLINE void NAME(rows)(const V v[8], V rows[4])
{
    V a[4], b[4];
    for (int i = 0; i < 4; i++)
        a[i] = OP(add_epi8)(OP(packs_epi16)(v[i], v[i + 4]), OP(set1_epi8)((char)128));
    for (int i = 0; i < 2; i++) {
        b[i] = OP(unpacklo_epi8)(a[2 * i], a[2 * i + 1]);
        b[i + 2] = OP(unpackhi_epi8)(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 4; i += 2) {
        a[i] = OP(unpacklo_epi16)(b[i], b[i + 1]);
        a[i + 1] = OP(unpackhi_epi16)(b[i], b[i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        rows[2 * i] = OP(unpacklo_epi32)(a[i], a[i + 2]);
        rows[2 * i + 1] = OP(unpackhi_epi32)(a[i], a[i + 2]);
    }
}

/* As many blocks as there are lanes; whether it could be done. */
TARGET static __attribute__((noinline)) int NAME(transform)(const Block *blocks)
{
    const __m128i *values[LANES], *quants[LANES];
    for (int i = 0; i < LANES; i++)
        values[i] = (const __m128i *)blocks[i].block, quants[i] = (const __m128i *)blocks[i].quant;
    V v[8];
    for (int i = 0; i < 8; i++)
        v[i] = OP(mullo_epi16)(BESIDE(values, i), BESIDE(quants, i));
    if (UNLIKELY(!IS_ZERO(OP(subs_epu16)(OP(abs_epi16)(v[0]), OP(set1_epi16)(MOST)))))
        return 0;
    NAME(one_way)(v, 11);
    NAME(transpose)(v);
    NAME(one_way)(v, 18);
    V rows[4];
    NAME(rows)(v, rows);
    for (int i = 0; i < 4; i++) {
#define PUT(at)                                                                                    \
    {                                                                                              \
        uint8_t *out = blocks[at].out + 2 * i * blocks[at].stride;                                 \
        const __m128i two = LANE(rows[i], at);                                                     \
        _mm_storel_epi64((__m128i *)out, two);                                                     \
        _mm_storeh_pd((double *)(out + blocks[at].stride), _mm_castsi128_pd(two));                 \
    }
        EACH_LANE(PUT)
#undef PUT
    }
    return 1;
}

/* ---- colours ---- */

#define SAMPLES (16 * LANES) /* in a vector */

/* Samples that stand half as dense, made as dense as the picture's, columns 2 * first to 2 * last:
 * 9/16 of the nearest, 3/16 of the two beside it, 1/16 of the furthest. Where rows are as dense,
 * `beyond` is `near`, and that makes 3/4 and 1/4. Each row has a column more on both sides. */
TARGET static void NAME(widen)(const uint8_t *near, const uint8_t *beyond, uint8_t *out,
                               int64_t first, int64_t last, const int rows_too)
{
    const V much = OP(set1_epi16)(9 | 3 << 8), little = OP(set1_epi16)(3 | 1 << 8);
    const V to_left = OP(set1_epi16)(rows_too ? 8 : 4);
    const V to_right = OP(set1_epi16)(rows_too ? 7 : 8);
    for (int64_t i = first; i < last; i += SAMPLES) {
        const V here[2] = {LOAD(near + i), LOAD(beyond + i)};
        const V left[2] = {LOAD(near + i - 1), LOAD(beyond + i - 1)};
        const V right[2] = {LOAD(near + i + 1), LOAD(beyond + i + 1)};
        V both[2];
#define PART(at, unpack)                                                                           \
    {                                                                                              \
        V all = OP(maddubs_epi16)(OP(unpack)(here[0], here[1]), much);                             \
        V one = OP(maddubs_epi16)(OP(unpack)(left[0], left[1]), little);                           \
        V other = OP(maddubs_epi16)(OP(unpack)(right[0], right[1]), little);                       \
        one = OP(srli_epi16)(OP(add_epi16)(OP(add_epi16)(all, to_left), one), 4);                  \
        other = OP(srli_epi16)(OP(add_epi16)(OP(add_epi16)(all, to_right), other), 4);             \
        both[at] = OR(one, OP(slli_epi16)(other, 8));                                              \
    }
        PART(0, unpacklo_epi8)
        PART(1, unpackhi_epi8)
#undef PART
        STORE(out + 2 * i, FIRST_LANES(both[0], both[1]));
        STORE(out + 2 * i + SAMPLES, LAST_LANES(both[0], both[1]));
    }
}

/* round(c * factor / 65536), a factor of 16 bits */
TARGET INLINE V NAME(times)(V c, const short factor)
{
    V twice = OP(mulhi_epi16)(OP(add_epi16)(c, c), OP(set1_epi16)(factor));
    return OP(srai_epi16)(OP(add_epi16)(twice, OP(set1_epi16)(1)), 1);
}

/* Pixels, their values in 16 bits. 1.402 = 1 + 0.402; 1.772 = 2 - 0.228; -0.71414 = 0.28586 - 1:
 * what is left has 16 binary places and a sign, as libjpeg's tables do. */
TARGET INLINE void NAME(mixed)(V level, V b, V r, V rgb[3])
{
    const V middle = OP(set1_epi16)(128), half = OP(set1_epi32)(32768);
    b = OP(sub_epi16)(b, middle), r = OP(sub_epi16)(r, middle);
    V low = OP(madd_epi16)(OP(unpacklo_epi16)(b, r), BOTH(-22554, 18734));
    V high = OP(madd_epi16)(OP(unpackhi_epi16)(b, r), BOTH(-22554, 18734));
    low = OP(srai_epi32)(OP(add_epi32)(low, half), 16);
    high = OP(srai_epi32)(OP(add_epi32)(high, half), 16);
    V green = OP(sub_epi16)(OP(packs_epi32)(low, high), r);
    V blue = OP(add_epi16)(OP(add_epi16)(b, b), NAME(times)(b, -14942));
    rgb[0] = OP(add_epi16)(level, OP(add_epi16)(r, NAME(times)(r, 26345)));
    rgb[1] = OP(add_epi16)(level, green);
    rgb[2] = OP(add_epi16)(level, blue);
}

#if LANES == 4
#define EVERY_THIRD 0x9249249249249249ull
/* Of which pixel each of their 192 bytes is. */
#define PIXEL(i) (i) / 3
#define EIGHT(i)                                                                                   \
    PIXEL(i), PIXEL(i + 1), PIXEL(i + 2), PIXEL(i + 3), PIXEL(i + 4), PIXEL(i + 5), PIXEL(i + 6),  \
        PIXEL(i + 7)
#define ALL_64(i)                                                                                  \
    {EIGHT(i), EIGHT(i + 8), EIGHT(i + 16), EIGHT(i + 24), EIGHT(i + 32), EIGHT(i + 40),           \
     EIGHT(i + 48), EIGHT(i + 56)}
static const uint8_t THIRDS[3][64] = {ALL_64(0), ALL_64(64), ALL_64(128)};
#undef ALL_64
#undef EIGHT
#undef PIXEL
#endif

TARGET INLINE void NAME(to_rgb)(const uint8_t *y, const uint8_t *cb, const uint8_t *cr,
                                uint8_t *out)
{
    const V zero = ZERO, level = LOAD(y), b = LOAD(cb), r = LOAD(cr);
    V low[3], high[3], rgb[3];
    NAME(mixed)(OP(unpacklo_epi8)(level, zero), OP(unpacklo_epi8)(b, zero),
                OP(unpacklo_epi8)(r, zero), low);
    NAME(mixed)(OP(unpackhi_epi8)(level, zero), OP(unpackhi_epi8)(b, zero),
                OP(unpackhi_epi8)(r, zero), high);
    for (int i = 0; i < 3; i++) /* in their order again, sixteen in each lane */
        rgb[i] = OP(packus_epi16)(low[i], high[i]);
#if LANES == 4
    for (int part = 0; part < 3; part++) {
        /* It begins with a value of channel `part`. */
        const uint64_t green = EVERY_THIRD << (4 - part) % 3, blue = EVERY_THIRD << (5 - part) % 3;
        const __m512i pixels = LOAD(THIRDS[part]);
        __m512i all = _mm512_permutexvar_epi8(pixels, rgb[0]);
        all = _mm512_mask_permutexvar_epi8(all, green, pixels, rgb[1]);
        all = _mm512_mask_permutexvar_epi8(all, blue, pixels, rgb[2]);
        STORE(out + 64 * part, all);
    }
#else
#define __ -1
#define PLACED(channel, places)                                                                    \
    _mm256_shuffle_epi8(rgb[channel], _mm256_broadcastsi128_si256(_mm_setr_epi8 places))
#define THIRD(at, r, g, b)                                                                         \
    {                                                                                              \
        __m256i third = OR(OR(PLACED(0, r), PLACED(1, g)), PLACED(2, b));                          \
        _mm_storeu_si128((__m128i *)out + at, LANE(third, 0));                                     \
        _mm_storeu_si128((__m128i *)out + at + 3, LANE(third, 1));                                 \
    }
    THIRD(0, (0, __, __, 1, __, __, 2, __, __, 3, __, __, 4, __, __, 5),
             (__, 0, __, __, 1, __, __, 2, __, __, 3, __, __, 4, __, __),
             (__, __, 0, __, __, 1, __, __, 2, __, __, 3, __, __, 4, __))
    THIRD(1, (__, __, 6, __, __, 7, __, __, 8, __, __, 9, __, __, 10, __),
             (5, __, __, 6, __, __, 7, __, __, 8, __, __, 9, __, __, 10),
             (__, 5, __, __, 6, __, __, 7, __, __, 8, __, __, 9, __, __))
    THIRD(2, (__, 11, __, __, 12, __, __, 13, __, __, 14, __, __, 15, __, __),
             (__, __, 11, __, __, 12, __, __, 13, __, __, 14, __, __, 15, __),
             (10, __, __, 11, __, __, 12, __, __, 13, __, __, 14, __, __, 15))
#undef THIRD
#undef PLACED
#undef __
#endif
}

/* One row of the part. */
TARGET static void NAME(show)(const Picture *picture, int64_t y)
{
    const Job *job = picture->job;
    const Header *is = &picture->is;
    uint8_t *out = job->out + y * job->stride;
    const uint8_t *level = row_of(picture, 0, y), *blue, *red;
    int64_t x = job->left & ~(int64_t)1;
    if (is->components == 1) {
        memcpy(out + x, level + x, (size_t)(job->right - x));
        return;
    }
    if (is->across == 1) {
        blue = row_of(picture, 1, y), red = row_of(picture, 2, y);
    } else {
        const int64_t rows = (is->height + is->down - 1) / is->down;
        int64_t near = y / is->down, beyond = is->down == 1 ? near : near + (y & 1 ? 1 : -1);
        beyond = beyond < 0 ? 0 : beyond < rows ? beyond : rows - 1;
        for (int c = 1; c < 3; c++)
            NAME(widen)(row_of(picture, c, near), row_of(picture, c, beyond),
                        picture->colours[c - 1], x / 2, (job->right + 1) / 2, is->down == 2);
        blue = picture->colours[0], red = picture->colours[1];
    }
    for (; x + SAMPLES <= job->right; x += SAMPLES)
        NAME(to_rgb)(level + x, blue + x, red + x, out + 3 * x);
    if (x < job->right) {
        uint8_t few[3 * SAMPLES];
        NAME(to_rgb)(level + x, blue + x, red + x, few);
        memcpy(out + 3 * x, few, (size_t)(3 * (job->right - x)));
    }
}

#undef TARGET
#undef NAME
#undef V
#undef OP
#undef LOAD
#undef STORE
#undef OR
#undef ZERO
#undef IS_ZERO
#undef LANE
#undef EACH_LANE
#undef BESIDE
#undef BOTH
#undef FIRST_LANES
#undef LAST_LANES
#undef SAMPLES
#undef LANES
