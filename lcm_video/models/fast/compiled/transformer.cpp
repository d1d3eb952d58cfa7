// A whole transformer of few channels in one call: group norm, both attentions, feed-forward and residual. A thread
// takes a frame, or some pixels of all frames, all the way through, so that what lies between stays in its cache.
#include "attention.h"
#include "norms.h"
#include "rows.h"

namespace {

constexpr int64_t MANY = 256;  // rows, roughly, that a thread takes at a time of all frames

struct Attention {
    LayerNorm norm;
    const int32_t *into;  // (channels, queries, keys and values side by side), or queries alone
    const int32_t *out;   // (channels, channels)
    const float *bias;    // of the latter
};

struct Block {
    Attention first, second;
    LayerNorm norm;
    Widening forward;
};

struct Layer {
    int64_t channels, heads, groups;
    int64_t over_frames;  // whether pixels attend to themselves in other frames, or to each other and then to prompts
    int64_t depth;
    const Block *blocks;
    LayerNorm norm;       // what the group norm has
    const int32_t *into;  // (channels, channels)
    const float *into_bias;
    const int32_t *out;
    const float *out_bias;
};

struct Call {
    int64_t frames, lines, columns, threads;
    int64_t together;             // whether the group norm takes its statistics over all frames
    const float *positions;       // (frames, channels), added to what attention over frames looks at
    const float *scale;           // (frames,), what the transformer's part is multiplied by; or null
    const float *const *prompts;  // (blocks, count): of each prompt keys and values side by side, (tokens, 2 channels)
    int64_t count, tokens;
    const int64_t *between;       // (frames, 2): the two prompts that a frame is between
    const float *shares;          // (frames, 2): how much it has of each
};

// How the work is cut into units, and what attention is like in them.
struct Cut {
    const Layer &layer;
    const Call &call;
    int64_t width, head, pixels;  // pixels of a frame
    int64_t each, units;          // pixels of a frame in a unit; the last unit may have fewer

    Cut(const Layer &layer, const Call &call)
        : layer(layer), call(call), width(layer.channels), head(width / layer.heads), pixels(call.lines * call.columns),
          each(pixels), units(call.frames) {
        if (!layer.over_frames) return;
        each = least(up(pixels, call.threads) / call.threads, up(MANY, call.frames) / call.frames);
        units = up(pixels, each) / each;
    }

    int64_t rows() const { return layer.over_frames ? call.frames * each : each; }

    // Attention of rows to each other. A frame's rows come after those of the frame before.
    Heads among(int64_t count) const {
        if (!layer.over_frames) {
            Strides wide = {0, head, 3 * width};
            return heads(1, pixels, pixels, wide, wide, {0, head, width});
        }
        int64_t next = count * width;
        Strides wide = {3 * width, head, 3 * next};
        return heads(count, call.frames, call.frames, wide, wide, {width, head, next});
    }

    // Attention of a frame's rows to its prompt.
    Heads to_prompt() const {
        return heads(1, pixels, call.tokens, {0, head, width}, {0, head, 2 * width}, {0, head, width});
    }

    Heads heads(int64_t sequences, int64_t queries, int64_t keys, Strides query, Strides key, Strides out) const {
        return {sequences, layer.heads, queries, keys, head, 1, query, key, key, out, 1 / sqrtf(head)};
    }
};

// Memory of a thread.
struct Room {
    float *hidden, *normed;  // (rows, channels)
    float *wide;             // (rows, 3 channels), or sums of a feed-forward
    float *active;           // (CHUNK, HIDDEN)
    float *prompt;           // (tokens, 2 channels)
    int32_t *heads;
};

// A unit of the work: `pixels` of each of `frames` frames, from frame `frame` and pixel `pixel` on.
struct Unit {
    const Cut &cut;
    const Room &room;
    int64_t frame, frames, pixel, pixels;

    Unit(const Cut &cut, const Room &room, int64_t number)
        : cut(cut), room(room), frame(0), frames(cut.call.frames), pixel(number * cut.each),
          pixels(least(cut.each, cut.pixels - pixel)) {
        if (!cut.layer.over_frames) frame = number, frames = 1, pixel = 0, pixels = cut.pixels;
    }

    int64_t rows() const { return frames * pixels; }

    // Where in the images the unit's rows of its frame `i` begin.
    int64_t at(int64_t i) const { return ((frame + i) * cut.pixels + pixel) * cut.width; }

    // out (rows, outputs) = x times weight, or that plus what is there
    void multiply(const float *x, const int32_t *weight, int64_t outputs, const float *bias, float *out,
                  bool add) const {
        linear<Single>(x, rows(), cut.width, weight, outputs, bias, [&](int64_t row, int64_t column, Floats sums)
                       INLINE_LAMBDA {
            float *to = out + row * outputs + column;
            store(to, add ? sums + load<Floats>(to) : sums);
        });
    }

    // The rows see each other, or given keys and values. What they see is added to them.
    void attend_to(const Attention &weights, const Heads &heads, const float *given) const {
        int64_t width = cut.width;
        for (int64_t r = 0; r < rows(); r++) {
            const float *position = cut.layer.over_frames ? cut.call.positions + r / pixels * width : nullptr;
            normalise<Single>(weights.norm, room.hidden + r * width, width, position, room.normed + r * width);
        }
        multiply(room.normed, weights.into, given ? width : 3 * width, nullptr, room.wide, false);
        const float *keys = given ? given : room.wide + width;
        Space space = Sizes<Single>(heads).at(room.heads);
        for (int64_t i = 0; i < pieces(heads); i++)
            attend<Single>(heads, room.wide, keys, keys + width, room.normed, i, space);
        multiply(room.normed, weights.out, width, weights.bias, room.hidden, true);
    }

    // Keys and values of the frame's prompt for block `number`.
    const float *prompt(int64_t number) const {
        const Call &call = cut.call;
        const int64_t *between = call.between + 2 * frame;
        const float *one = call.prompts[number * call.count + between[0]], *shares = call.shares + 2 * frame;
        const float *other = call.prompts[number * call.count + between[1]];
        if (one == other) return one;
        for (int64_t i = 0; i < call.tokens * 2 * cut.width; i += LANES)
            store(room.prompt + i, shares[0] * load<Floats>(one + i) + shares[1] * load<Floats>(other + i));
        return room.prompt;
    }

    void feed(const Block &block) const {
        int64_t width = cut.width;
        for (int64_t first = 0; first < rows(); first += CHUNK) {
            int64_t count = least(CHUNK, rows() - first);
            float *hidden = room.hidden + first * width;
            for (int64_t r = 0; r < count; r++)
                normalise<Single>(block.norm, hidden + r * width, width, nullptr, room.normed + r * width);
            feed_forward<Single>(block.forward, room.normed, count, room.active, room.wide);
            for (int64_t i = 0; i < count * width; i += LANES)
                store(hidden + i, load<Floats>(hidden + i) + load<Floats>(room.wide + i));
        }
    }

    void run(const Affines<Single> &affines, const float *x, float *out) const {
        const Layer &layer = cut.layer;
        for (int64_t i = 0; i < frames; i++) {
            const float *affine = affines.of(cut.call.together ? 0 : frame + i);
            norm_pixels<Single, Single>(affines.plan, x + at(i), pixels, affine, room.normed + i * pixels * cut.width);
        }
        multiply(room.normed, layer.into, cut.width, layer.into_bias, room.hidden, false);
        for (int64_t b = 0; b < layer.depth; b++) {
            const Block &block = layer.blocks[b];
            attend_to(block.first, cut.among(pixels), nullptr);
            if (layer.over_frames) attend_to(block.second, cut.among(pixels), nullptr);
            else attend_to(block.second, cut.to_prompt(), prompt(b));
            feed(block);
        }
        linear<Single>(room.hidden, rows(), cut.width, layer.out, cut.width, layer.out_bias,
                       [&](int64_t row, int64_t column, Floats sums) INLINE_LAMBDA {
            int64_t place = at(row / pixels) + row % pixels * cut.width + column;
            if (cut.call.scale) sums *= cut.call.scale[row / pixels];
            store(out + place, sums + load<Floats>(x + place));
        });
    }
};

int transformer(const Layer &layer, const Call &call, const float *x, float *out) {
    Cut cut(layer, call);
    int64_t rows = up(cut.rows(), ROWS), to_prompt = layer.over_frames ? 0 : Sizes<Single>(cut.to_prompt()).all;
    int64_t among = Sizes<Single>(cut.among(cut.each)).all;
    int64_t sizes[] = {rows * cut.width, rows * cut.width, rows * 3 * cut.width, CHUNK * HIDDEN,
                       call.tokens * 2 * cut.width, among > to_prompt ? among : to_prompt};
    int64_t size = 0;
    for (int64_t &each : sizes) size += each = up(each, LANES);
    Memory memory(call.threads, 4 * size);
    Groups groups = {call.frames, call.lines, call.columns, cut.width, layer.groups, 0, call.threads, 0, 0,
                     layer.norm.epsilon};
    if (call.together) groups.images = 1, groups.lines *= call.frames;
    Affines<Single> affines(groups);
    if (!memory.start || !affines.there()) return NO_MEMORY;
    const float *gain = (const float *)layer.norm.gain, *offset = (const float *)layer.norm.offset;
    bool alone = !layer.over_frames && !call.together;  // a unit is a frame, and needs the statistics of no other
#pragma omp parallel num_threads(call.threads)
    {
        float *parts[6], *next = (float *)memory.mine();
        for (int i = 0; i < 6; next += sizes[i++]) parts[i] = next;
        Room room = {parts[0], parts[1], parts[2], parts[3], parts[4], (int32_t *)parts[5]};
        if (!alone) affines.each(x, gain, offset);
#pragma omp for schedule(dynamic)
        for (int64_t number = 0; number < cut.units; number++) {
            if (alone) affines.one(x, gain, offset, number);
            Unit(cut, room, number).run(affines, x, out);
        }
    }
    return DONE;
}

}  // namespace

extern "C" int transformer_float32(const Layer *layer, const Call *call, const float *x, float *out) {
    return transformer(*layer, *call, x, out);
}
