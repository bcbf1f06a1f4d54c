#include "index/faiss/faiss_walk.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>

#include "base/text.h"

namespace vss {
namespace {

constexpr int deepest = 6;  // indexes within indexes
constexpr std::int32_t most_transforms = 8;
constexpr std::uint64_t most_dimensions = 65536;
constexpr std::uint64_t most_bits = 12;  // of a code of a product quantizer

constexpr std::int32_t most_metric = 2;  // inner product, L2, L1: another number must not become an enumeration
constexpr std::uint64_t most_in_table = std::uint64_t{1} << 26;  // floats

constexpr std::uint32_t four(const char (&text)[5]) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[0])) |
           static_cast<std::uint32_t>(static_cast<unsigned char>(text[1])) << 8 |
           static_cast<std::uint32_t>(static_cast<unsigned char>(text[2])) << 16 |
           static_cast<std::uint32_t>(static_cast<unsigned char>(text[3])) << 24;
}

// Each step is false where the bytes end, or say what cannot be.
class Walk {
  public:
    explicit Walk(std::span<const std::byte> bytes) : bytes_(bytes) {}

    [[nodiscard]] bool index() {
        Header at;
        return index(0, at);
    }
    [[nodiscard]] bool at_end() const { return at_ == bytes_.size(); }
    [[nodiscard]] std::size_t position() const { return at_; }

  private:
    struct Header {
        std::int32_t dim = 0;
        std::int64_t rows = 0;
        std::int32_t metric = 0;
    };

    [[nodiscard]] std::size_t left() const { return bytes_.size() - at_; }
    [[nodiscard]] bool skip(std::uint64_t n) {
        if (n > left()) {
            return false;
        }
        at_ += n;
        return true;
    }
    template <class Number>
    [[nodiscard]] bool read(Number& out) {
        if (left() < sizeof out) {
            return false;
        }
        std::memcpy(&out, bytes_.data() + at_, sizeof out);
        at_ += sizeof out;
        return true;
    }
    // A bool, which Faiss reads as the byte that is there.
    [[nodiscard]] bool flag() {
        std::uint8_t value = 0;
        return read(value) && value <= 1;
    }
    // A number of elements, and the elements, of `size` bytes each.
    [[nodiscard]] bool vector(std::uint64_t size, std::uint64_t* count = nullptr) {
        std::uint64_t n = 0;
        if (!read(n) || n > left() / size) {
            return false;
        }
        if (count != nullptr) {
            *count = n;
        }
        return skip(n * size);
    }
    // `out`: what it says of itself.
    [[nodiscard]] bool index(int depth, Header& out);
    // An index within one, of the same rows.
    [[nodiscard]] bool inner(int depth, const Header& outer) {
        Header at;
        return index(depth + 1, at) && at.rows == outer.rows;
    }
    // The next index is of that kind.
    [[nodiscard]] bool is_next(std::initializer_list<std::uint32_t> kinds) const {
        std::uint32_t kind = 0;
        if (left() < sizeof kind) {
            return false;
        }
        std::memcpy(&kind, bytes_.data() + at_, sizeof kind);
        return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
    }
    [[nodiscard]] bool header(Header& out);
    [[nodiscard]] bool transform();
    [[nodiscard]] bool product_quantizer(const Header& of);
    [[nodiscard]] bool scalar_quantizer();
    [[nodiscard]] bool graph();
    [[nodiscard]] bool ivf(int depth, Header& at, std::uint64_t& lists);
    // Where Faiss's reader refuses it forgets to free, so what it compares is compared here: sizes of codes.
    [[nodiscard]] bool lists(std::uint64_t lists, std::uint64_t code_size);
    [[nodiscard]] bool block_lists(std::uint64_t lists);

    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
    bool makes_table_ = false;
};

bool Walk::header(Header& out) {
    std::uint8_t trained = 0;
    if (!read(out.dim) || !read(out.rows) || !skip(16) || !read(trained) || !read(out.metric)) {
        return false;
    }
    return out.dim > 0 && static_cast<std::uint64_t>(out.dim) <= most_dimensions && out.rows >= 0 && trained <= 1 &&
           out.metric >= 0 && out.metric <= most_metric && (out.metric <= 1 || skip(4));
}

bool Walk::transform() {
    std::uint32_t kind = 0;
    if (!read(kind)) {
        return false;
    }
    if (kind == four("VNrm")) {
        if (!skip(4)) {
            return false;
        }
    } else if (kind == four("VCnt") || kind == four("RmDT")) {
        if (!vector(4)) {
            return false;
        }
    } else if (kind == four("rrot") || kind == four("LTra") || kind == four("Pcam")) {
        // eigen_power, epsilon, random_rotation, balanced_bins; mean, eigenvalues, matrix
        if (kind == four("Pcam") && !(skip(4 + 4) && flag() && skip(4) && vector(4) && vector(4) && vector(4))) {
            return false;
        }
        std::uint8_t bias = 0;
        if (!read(bias) || bias > 1 || !vector(4) || !vector(4)) {
            return false;
        }
    } else {
        return false;
    }
    std::int32_t in = 0;
    std::int32_t out = 0;
    std::uint8_t trained = 0;
    return read(in) && read(out) && read(trained) && trained <= 1 && in > 0 && out > 0 &&
           static_cast<std::uint64_t>(in) <= most_dimensions && static_cast<std::uint64_t>(out) <= most_dimensions;
}

bool Walk::product_quantizer(const Header& of) {
    std::uint64_t dim = 0;
    std::uint64_t parts = 0;
    std::uint64_t bits = 0;
    if (!read(dim) || !read(parts) || !read(bits) || dim != static_cast<std::uint64_t>(of.dim) || parts == 0 ||
        parts > dim || dim % parts != 0 || bits == 0 || bits > most_bits) {
        return false;
    }
    // Faiss makes room for the centroids before it reads how many there are.
    if (makes_table_ && parts << 2 * bits > most_in_table) {
        return false;
    }
    std::uint64_t centroids = 0;
    return vector(4, &centroids) && centroids == dim << bits;
}

bool Walk::scalar_quantizer() {
    std::int32_t type = 0;
    std::int32_t statistic = 0;
    // then: argument, dim, code size
    return read(type) && read(statistic) && type >= 0 && type <= 6 && statistic >= 0 && statistic <= 3 &&
           skip(4 + 8 + 8) && vector(4);
}

bool Walk::graph() {
    // assign_probas, cum_nneighbor_per_level, levels, offsets, neighbors; five numbers
    return vector(8) && vector(4) && vector(4) && vector(8) && vector(4) && skip(5 * 4);
}

bool Walk::lists(std::uint64_t expected, std::uint64_t code_size) {
    std::uint32_t kind = 0;
    std::uint64_t count = 0;
    std::uint64_t code = 0;
    if (!read(kind) || kind != four("ilar") || !read(count) || count != expected || !read(code) || code != code_size ||
        code == 0 || code > most_dimensions * 4 || !read(kind)) {
        return false;
    }
    // Sizes of all lists, or of those that hold something. What is not there is empty.
    std::uint64_t n = 0;
    const std::size_t begin = at_ + 8;
    std::uint64_t entries = 0;
    if (!vector(8, &n)) {
        return false;
    }
    const auto number = [&](std::uint64_t i) {
        std::uint64_t value = 0;
        std::memcpy(&value, bytes_.data() + begin + i * 8, 8);
        return value;
    };
    if (kind != four("full") && kind != four("sprs")) {
        return false;
    }
    const bool sparse = kind == four("sprs");
    if (sparse ? n % 2 != 0 : n != count) {
        return false;
    }
    std::uint64_t last = 0;
    for (std::uint64_t i = 0; i < n; i += sparse ? 2 : 1) {
        if (sparse) {
            // As they are written: each list once.
            if (number(i) >= count || (i > 0 && number(i) <= last)) {
                return false;
            }
            last = number(i);
        }
        const std::uint64_t size = number(sparse ? i + 1 : i);
        if (size > left()) {
            return false;
        }
        entries += size;
        if (entries > left() / (code + 8)) {
            return false;
        }
    }
    return skip(entries * (code + 8));
}

bool Walk::block_lists(std::uint64_t expected) {
    std::uint32_t kind = 0;
    std::uint64_t count = 0;
    std::uint64_t code = 0;
    if (!read(kind) || kind != four("ilbl") || !read(count) || count != expected || count > left() / 16 ||
        !read(code) || code != std::numeric_limits<std::uint64_t>::max() || !skip(2 * 8)) {
        return false;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        if (!vector(8) || !vector(1)) {
            return false;
        }
    }
    return true;
}

// Up to the direct map, which is not kept. Some of Faiss's readers ask the index of the centroids for all of them
// before anybody could check it: it is one whose rows are there.
bool Walk::ivf(int depth, Header& at, std::uint64_t& lists) {
    Header centroids;
    std::uint64_t probes = 0;
    std::uint8_t map = 0;
    std::uint64_t mapped = 0;
    return header(at) && read(lists) && read(probes) && lists > 0 && lists <= left() / 4 &&
           is_next({four("IxFI"), four("IxF2"), four("IxFl"), four("IHNf")}) && index(depth + 1, centroids) &&
           static_cast<std::uint64_t>(centroids.rows) == lists && centroids.dim == at.dim && read(map) && map == 0 &&
           vector(8, &mapped) && mapped == 0;
}

bool Walk::index(int depth, Header& at) {
    std::uint32_t kind = 0;
    if (depth > deepest || !read(kind)) {
        return false;
    }
    if (kind == four("IxFI") || kind == four("IxF2") || kind == four("IxFl")) {
        std::uint64_t floats = 0;
        return header(at) && vector(4, &floats) &&
               floats == static_cast<std::uint64_t>(at.rows) * static_cast<std::uint64_t>(at.dim);
    }
    if (kind == four("IxPq")) {
        // The kind of search is an enumeration: no other number may become one.
        std::int32_t search = 0;
        return header(at) && product_quantizer(at) && vector(1) && read(search) && search == 0 && flag() && skip(4);
    }
    if (kind == four("IxSQ")) {
        return header(at) && scalar_quantizer() && vector(1);
    }
    if (kind == four("IPfs")) {
        return header(at) && product_quantizer(at) && skip(4 + 4 + 4 + 8 + 8) && vector(1);
    }
    // Faiss takes what these store for granted, and makes a table of the second one's quantizer.
    if (kind == four("IHNf")) {
        return header(at) && graph() && is_next({four("IxFI"), four("IxF2"), four("IxFl")}) && inner(depth, at);
    }
    if (kind == four("IHNp")) {
        makes_table_ = true;
        return header(at) && graph() && is_next({four("IxPq")}) && inner(depth, at);
    }
    if (kind == four("IHNs")) {
        return header(at) && graph() && is_next({four("IxSQ")}) && inner(depth, at);
    }
    if (kind == four("IxRF")) {
        return header(at) && inner(depth, at) && inner(depth, at) && skip(4);
    }
    if (kind == four("IxMp") || kind == four("IxM2")) {
        std::uint64_t ids = 0;
        return header(at) && inner(depth, at) && vector(8, &ids) && ids == static_cast<std::uint64_t>(at.rows);
    }
    if (kind == four("IxPT")) {
        std::int32_t transforms = 0;
        if (!header(at) || !read(transforms) || transforms < 0 || transforms > most_transforms) {
            return false;
        }
        for (std::int32_t i = 0; i < transforms; ++i) {
            if (!transform()) {
                return false;
            }
        }
        return inner(depth, at);
    }
    std::uint64_t count = 0;
    std::uint64_t code_size = 0;
    if (kind == four("IwFl")) {
        return ivf(depth, at, count) && lists(count, static_cast<std::uint64_t>(at.dim) * sizeof(float));
    }
    if (kind == four("IwSq")) {
        return ivf(depth, at, count) && scalar_quantizer() && read(code_size) && flag() && lists(count, code_size);
    }
    if (kind == four("IwPQ")) {
        return ivf(depth, at, count) && flag() && read(code_size) && product_quantizer(at) && lists(count, code_size);
    }
    if (kind == four("IwPf")) {
        // by_residual, code_size, bbs, M2, implem, qbs2
        return ivf(depth, at, count) && flag() && skip(8 + 4 + 8 + 4 + 8) && product_quantizer(at) &&
               block_lists(count);
    }
    return false;
}

}  // namespace

Status walk_faiss_bytes(std::span<const std::byte> bytes) {
    Walk walk(bytes);
    if (!walk.index()) {
        return Status::corrupt(cat("the bytes of its Faiss index are not what Faiss writes, near byte ",
                                   walk.position(), " of ", bytes.size()));
    }
    return walk.at_end() ? Status::ok()
                         : Status::corrupt(cat("its Faiss index ends at byte ", walk.position(), " of ", bytes.size()));
}

}  // namespace vss
