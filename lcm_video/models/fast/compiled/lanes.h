// What the compiled layers are made of: vectors of floats, and the numbers that they are stored as.
//
// Vectors are the compiler's own extension (GCC's and Clang's), so one source serves every width of vector.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <omp.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;  // floats in a vector
constexpr int ROWS = 8;    // rows times columns of vectors are summed up in registers, of which there are 32
#else
constexpr int LANES = 8;
constexpr int ROWS = 4;    // of 16 registers
#endif
constexpr int COLUMNS = 3;

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

template <class Vector, class Number> INLINE Vector load(const Number *from) {
    Vector vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

template <class Vector, class Number> INLINE void store(Number *to, Vector vector) {
    memcpy(to, &vector, sizeof vector);
}

INLINE Floats all(float number) { return number - Floats{}; }
INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }   // b where one is not a number, as a
INLINE Floats smaller(Floats a, Floats b) { return a < b ? a : b; }  // processor has it
INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t up(int64_t number, int64_t step) { return (number + step - 1) / step * step; }

template <int STEP> INLINE Floats crossed(Floats vector) {
    Words order;
    for (int i = 0; i < LANES; i++) order[i] = i ^ STEP;
    return __builtin_shuffle(vector, order);
}

INLINE float sum(Floats vector) {
    if constexpr (LANES == 16) vector += crossed<8>(vector);
    vector += crossed<4>(vector);
    vector += crossed<2>(vector);
    vector += crossed<1>(vector);
    return vector[0];
}

INLINE float maximum(Floats vector) {
    if constexpr (LANES == 16) vector = larger(vector, crossed<8>(vector));
    vector = larger(vector, crossed<4>(vector));
    vector = larger(vector, crossed<2>(vector));
    vector = larger(vector, crossed<1>(vector));
    return vector[0];
}

// 2^x for x from -126 to 126: 2^n 2^f with |f| <= 1/2, whose polynomial is within 8e-8 there.
INLINE Floats power_of_two(Floats x) {
#if defined(__AVX512F__)
    Floats n = (Floats)_mm512_roundscale_ps((__m512)x, 8), f = x - n;
#else
    constexpr float WHOLE = 12582912;  // 1.5 * 2^23: added to a number, it leaves no bits after the point
    Floats shifted = x + WHOLE, f = x - (shifted - WHOLE);
#endif
    Floats p = f * 0.0013276471853413147f + 0.009675541540990559f;
    p = p * f + 0.05550713275733725f;
    p = p * f + 0.24022119720051743f;
    p = p * f + 0.6931469670622632f;
    p = p * f + 1.0000000716554394f;
#if defined(__AVX512F__)
    return (Floats)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return (Floats)((Words)p + ((Words)shifted << 23));
#endif
}

constexpr float LOG2_E = 1.44269504f;

// e^x for x from -87 to 87; beyond, that of the nearer end.
INLINE Floats exponential(Floats x) { return power_of_two(smaller(all(126), larger(all(-126), x * LOG2_E))); }

// a / b for b from 1 to 1e38
INLINE Floats quotient(Floats a, Floats b) {
#if defined(__AVX512F__)
    Floats r = (Floats)_mm512_rcp14_ps((__m512)b);
    return a * (r + r * (1.f - b * r));
#else
    return a / b;
#endif
}

// The error function within 4e-7, as z times a ratio of polynomials in z^2, fitted to it from -3.9 to 3.9.
INLINE Floats erf(Floats z) {
    z = smaller(all(3.9f), larger(all(-3.9f), z));
    Floats u = z * z;
    Floats p = u * 2.0505510747170774e-06f + 0.00028744517476297915f;
    p = p * u + 0.0038361952174454927f;
    p = p * u + 0.05296482518315315f;
    p = p * u + 0.19192461669445038f;
    p = p * u + 1.128378987312317f;
    Floats q = u * 3.82318212359678e-05f + 0.0011815755860880017f;
    q = q * u + 0.0151078375056386f;
    q = q * u + 0.11475149542093277f;
    q = q * u + 0.5034205317497253f;
    q = q * u + 1.f;
    return quotient(z * p, q);
}

INLINE Floats silu(Floats x) { return quotient(x, 1.f + exponential(-x)); }
INLINE Floats gelu(Floats x) { return x * 0.5f * (1.f + erf(x * 0.70710678f)); }

// One step of a transposition: swaps what lies STEP off the diagonal in two rows that are STEP apart.
template <int STEP> INLINE void swap(Words &a, Words &b) {
    Words low, high;
    for (int i = 0; i < LANES; i++) {
        low[i] = i & STEP ? i - STEP + LANES : i;
        high[i] = i & STEP ? i + LANES : i + STEP;
    }
    Words first = __builtin_shuffle(a, b, low), second = __builtin_shuffle(a, b, high);
    a = first, b = second;
}

template <int STEP> INLINE void swap_all(Words *rows) {
    for (int i = 0; i < LANES; i++)
        if (!(i & STEP)) swap<STEP>(rows[i], rows[i + STEP]);
}

// Transposes LANES x LANES words in place.
INLINE void transpose(Words *rows) {
    if constexpr (LANES == 16) swap_all<8>(rows);
    swap_all<4>(rows);
    swap_all<2>(rows);
    swap_all<1>(rows);
}

// Memory to work in, as much for each thread of a parallel region; `start` is null if there is none.
struct Memory {
    int64_t each;
    char *start;

    Memory(int64_t threads, int64_t bytes)
        : each(up(bytes, 64)), start((char *)aligned_alloc(64, threads * each)) {}
    Memory(const Memory &) = delete;
    ~Memory() { free(start); }

    char *mine() const { return start + omp_get_thread_num() * each; }
};

constexpr int DONE = 0, NO_MEMORY = 1;  // what functions return

// How numbers are stored and multiplied. A word is what a lane multiplies in one instruction.

struct Single {
    typedef float Number;
    static constexpr int PER_WORD = 1;

    static INLINE Floats dot(Floats sum, int32_t a, Words b) {
        float number;
        memcpy(&number, &a, 4);
        return sum + number * (Floats)b;
    }
    static INLINE Floats floats(const Number *from) { return load<Floats>(from); }
    static INLINE void put(Number *to, Floats numbers) { store(to, numbers); }
    static INLINE float number(Number stored) { return stored; }
    static INLINE Number rounded(float number) { return number; }
};

#if defined(__AVX512BF16__)
// bfloat16: two neighbours along the sum are a word. Products are exact, and summed in float32.
struct Pair {
    typedef uint16_t Number;
    static constexpr int PER_WORD = 2;

    static INLINE Floats dot(Floats sum, int32_t a, Words b) {
        return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(a - Words{}), (__m512bh)b);
    }
    static INLINE Floats floats(const Number *from) {
        return (Floats)(__builtin_convertvector(load<Halves>(from), Words) << 16);
    }
    static INLINE void put(Number *to, Floats numbers) {
        __m256bh halves = _mm512_cvtneps_pbh((__m512)numbers);
        memcpy(to, &halves, sizeof halves);
    }
    static INLINE float number(Number stored) {
        uint32_t bits = (uint32_t)stored << 16;
        float number;
        memcpy(&number, &bits, 4);
        return number;
    }
    static INLINE Number rounded(float number) {
        uint32_t bits;
        memcpy(&bits, &number, 4);
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }
};
#endif

// sums[r][c] += the products of row r of a (count words each, stride words apart) with columns of b (count, across),
// all in registers.
template <class Kind, int rows, int columns>
INLINE void product(Floats (&sums)[rows][columns], const int32_t *a, int64_t stride, int64_t count, const int32_t *b,
                    int64_t across) {
    for (int64_t i = 0; i < count; i++) {
        Words line[columns];
        for (int c = 0; c < columns; c++) line[c] = load<Words>(b + i * across + c * LANES);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) sums[r][c] = Kind::dot(sums[r][c], a[r * stride + i], line[c]);
    }
}

// Calls `block` with as many columns as a constant, for every LANES * COLUMNS of `width`, and what remains.
template <class Block> INLINE void by_columns(int64_t width, Block block) {
    int64_t first = 0;
    for (; first + COLUMNS * LANES <= width; first += COLUMNS * LANES) block.template operator()<COLUMNS>(first);
    if (width - first > LANES) block.template operator()<2>(first);
    else if (width > first) block.template operator()<1>(first);
}
