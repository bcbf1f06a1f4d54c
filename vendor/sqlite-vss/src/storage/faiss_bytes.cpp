#include "storage/faiss_bytes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "base/half.h"
#include "base/text.h"
#include "base/types.h"

namespace vss {
namespace {

constexpr int deepest = 8;
constexpr std::size_t most_transforms = 16;

using Bytes = std::span<const std::byte>;

float float_at(Bytes bytes, std::size_t i) {
    float value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    return value;
}

void copy_floats(Bytes bytes, std::size_t first, std::size_t count, float* out) {
    std::memcpy(out, bytes.data() + first * sizeof(float), count * sizeof(float));
}

std::optional<std::size_t> product(std::size_t a, std::size_t b) {
    std::size_t out = 0;
    return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional(out);
}

// How one code becomes a vector.
class Coding {
  public:
    Coding() = default;
    Coding(const Coding&) = delete;
    Coding& operator=(const Coding&) = delete;
    virtual ~Coding() = default;
    [[nodiscard]] virtual std::size_t code_size() const = 0;
    [[nodiscard]] virtual bool is_lossy() const { return true; }
    virtual void decode(Bytes code, float* out) const = 0;
};

class PlainFloats final : public Coding {
  public:
    explicit PlainFloats(std::size_t dim) : dim_(dim) {}
    [[nodiscard]] std::size_t code_size() const override { return dim_ * sizeof(float); }
    [[nodiscard]] bool is_lossy() const override { return false; }
    void decode(Bytes code, float* out) const override { copy_floats(code, 0, dim_, out); }

  private:
    std::size_t dim_;
};

// faiss/impl/ScalarQuantizer.cpp
class ScalarCodes final : public Coding {
  public:
    enum Type { bits8, bits4, bits8_uniform, bits4_uniform, fp16, bits8_direct, bits6, type_count };

    static std::size_t bytes_of(Type type, std::size_t dim) {
        switch (type) {
            case bits4:
            case bits4_uniform: return (dim + 1) / 2;
            case bits6: return (dim * 6 + 7) / 8;
            case fp16: return dim * 2;
            default: return dim;
        }
    }
    static std::size_t trained_floats(Type type, std::size_t dim) {
        switch (type) {
            case bits8_uniform:
            case bits4_uniform: return 2;
            case fp16:
            case bits8_direct: return 0;
            default: return 2 * dim;
        }
    }

    ScalarCodes(Type type, std::size_t dim, Bytes trained) : type_(type), dim_(dim), trained_(trained) {}
    [[nodiscard]] std::size_t code_size() const override { return bytes_of(type_, dim_); }
    void decode(Bytes code, float* out) const override {
        for (std::size_t i = 0; i < dim_; ++i) {
            if (type_ == fp16) {
                std::uint16_t bits = 0;
                std::memcpy(&bits, code.data() + i * 2, sizeof bits);
                out[i] = float16_to_float(bits);
            } else if (type_ == bits8_direct) {
                out[i] = static_cast<float>(std::to_integer<unsigned>(code[i]));
            } else {
                const bool uniform = type_ == bits8_uniform || type_ == bits4_uniform;
                const float least = float_at(trained_, uniform ? 0 : i);
                const float span = float_at(trained_, uniform ? 1 : dim_ + i);
                out[i] = least + level(code, i) * span;
            }
        }
    }

  private:
    // Within 0 and 1.
    [[nodiscard]] float level(Bytes code, std::size_t i) const {
        if (type_ == bits4 || type_ == bits4_uniform) {
            const auto nibble = (std::to_integer<unsigned>(code[i / 2]) >> ((i % 2) * 4)) & 0xFU;
            return (static_cast<float>(nibble) + 0.5F) / 15.0F;
        }
        if (type_ == bits6) {
            const std::size_t bit = i * 6;
            unsigned word = std::to_integer<unsigned>(code[bit / 8]);
            if (bit % 8 > 2) {
                word |= std::to_integer<unsigned>(code[bit / 8 + 1]) << 8;
            }
            return (static_cast<float>((word >> (bit % 8)) & 0x3FU) + 0.5F) / 63.0F;
        }
        return (static_cast<float>(std::to_integer<unsigned>(code[i])) + 0.5F) / 255.0F;
    }

    Type type_;
    std::size_t dim_;
    Bytes trained_;
};

// faiss/impl/ProductQuantizer.h: `parts` numbers of `bits` bits, the least significant first.
class ProductCodes final : public Coding {
  public:
    ProductCodes(std::size_t dim, std::size_t parts, std::size_t bits, Bytes centroids)
        : parts_(parts), bits_(bits), width_(dim / parts), centroids_(centroids) {}
    [[nodiscard]] std::size_t code_size() const override { return (parts_ * bits_ + 7) / 8; }
    void decode(Bytes code, float* out) const override {
        for (std::size_t m = 0; m < parts_; ++m) {
            std::size_t number = 0;
            for (std::size_t b = 0; b < bits_; ++b) {
                const std::size_t at = m * bits_ + b;
                number |= std::size_t{(std::to_integer<unsigned>(code[at / 8]) >> (at % 8)) & 1U} << b;
            }
            copy_floats(centroids_, ((m << bits_) + number) * width_, width_, out + m * width_);
        }
    }

  private:
    std::size_t parts_;
    std::size_t bits_;
    std::size_t width_;
    Bytes centroids_;
};

// Codes one after the other.
class CodedVectors final : public StoredVectors {
  public:
    CodedVectors(std::unique_ptr<Coding> coding, Bytes codes) : coding_(std::move(coding)), codes_(codes) {
        is_lossy_ = coding_->is_lossy();
    }
    void read(std::size_t i, float* out) const override {
        coding_->decode(codes_.subspan(i * coding_->code_size(), coding_->code_size()), out);
    }

  private:
    std::unique_ptr<Coding> coding_;
    Bytes codes_;
};

// Inverted lists: codes in lists, perhaps of what is left after the list's centroid.
class ListedVectors final : public StoredVectors {
  public:
    struct Part {
        std::size_t list = 0;
        std::size_t first = 0;  // position of its first vector
        Bytes codes;
    };
    ListedVectors(std::unique_ptr<Coding> coding, std::vector<Part> parts, std::unique_ptr<StoredVectors> centroids)
        : coding_(std::move(coding)), parts_(std::move(parts)), centroids_(std::move(centroids)) {
        is_lossy_ = coding_->is_lossy();
    }
    void read(std::size_t i, float* out) const override {
        const auto after = std::upper_bound(parts_.begin(), parts_.end(), i,
                                            [](std::size_t at, const Part& part) { return at < part.first; });
        const Part& part = *std::prev(after);
        coding_->decode(part.codes.subspan((i - part.first) * coding_->code_size(), coding_->code_size()), out);
        if (centroids_ != nullptr) {
            std::vector<float> centroid(dim_);
            centroids_->read(part.list, centroid.data());
            std::transform(out, out + dim_, centroid.begin(), out, std::plus<>());
        }
    }

  private:
    std::unique_ptr<Coding> coding_;
    std::vector<Part> parts_;                   // none is empty, by `first`
    std::unique_ptr<StoredVectors> centroids_;  // of what is left after them; none: codes are of whole vectors
};

// What a pre-transform did to a vector, undone.
struct Transform {
    std::size_t in = 0;
    std::size_t out = 0;
    bool is_linear = false;
    Bytes matrix;  // out x in floats
    Bytes bias;    // out floats, or none
    Bytes center;  // subtracted before; in floats, or none

    void undo(const std::vector<float>& from, std::vector<float>& to) const {
        to.assign(in, 0);
        if (is_linear) {
            // The transposed matrix: right for rows of length 1 at right angles, which are checked when reading.
            for (std::size_t o = 0; o < out; ++o) {
                const float value = from[o] - (bias.empty() ? 0 : float_at(bias, o));
                for (std::size_t i = 0; i < in; ++i) {
                    to[i] += value * float_at(matrix, o * in + i);
                }
            }
        } else {
            to = from;
            for (std::size_t i = 0; i < in && !center.empty(); ++i) {
                to[i] += float_at(center, i);
            }
        }
    }
};

class TransformedVectors final : public StoredVectors {
  public:
    TransformedVectors(std::vector<Transform> transforms, std::unique_ptr<StoredVectors> inner)
        : transforms_(std::move(transforms)), inner_(std::move(inner)) {
        is_lossy_ = true;
        ids_ = inner_->ids();
    }
    void read(std::size_t i, float* out) const override {
        std::vector<float> now(inner_->dim());
        std::vector<float> before;
        inner_->read(i, now.data());
        for (auto transform = transforms_.rbegin(); transform != transforms_.rend(); ++transform) {
            transform->undo(now, before);
            now.swap(before);
        }
        std::copy(now.begin(), now.end(), out);
    }

  private:
    std::vector<Transform> transforms_;
    std::unique_ptr<StoredVectors> inner_;
};

bool has_orthonormal_rows(const Transform& transform) {
    // Some pairs of rows are enough: what is written was made by PCA or a rotation.
    const auto dot = [&](std::size_t a, std::size_t b) {
        double sum = 0;
        for (std::size_t i = 0; i < transform.in; ++i) {
            sum += double{float_at(transform.matrix, a * transform.in + i)} *
                   double{float_at(transform.matrix, b * transform.in + i)};
        }
        return sum;
    };
    constexpr double tolerance = 1e-3;
    for (std::size_t row = 0; row < transform.out; ++row) {
        if (!(std::abs(dot(row, row) - 1) < tolerance) || !(std::abs(row == 0 ? 0 : dot(row, row - 1)) < tolerance)) {
            return false;
        }
    }
    return true;
}

Status damaged(std::string_view what) {
    return Status::corrupt(cat("the Faiss index in it is damaged: ", what));
}

Status not_known(std::string_view what) {
    return {Code::unsupported, cat("a Faiss index ", what, " does not give its vectors back")};
}

}  // namespace

class FaissReader {
  public:
    explicit FaissReader(Bytes bytes) : rest_(bytes) {}

    Status index(std::unique_ptr<StoredVectors>& out, int depth = 0);
    [[nodiscard]] bool is_at_end() const { return rest_.empty(); }

  private:
    struct Header {
        std::size_t dim = 0;
        std::size_t size = 0;
        int metric = 1;
    };

    Status take(std::size_t count, Bytes& out) {
        if (count > rest_.size()) {
            return damaged(cat("expected ", count, " more bytes, got ", rest_.size()));
        }
        out = rest_.first(count);
        rest_ = rest_.subspan(count);
        return Status::ok();
    }
    template <class Number>
    Status number(Number& out) {
        Bytes bytes;
        VSS_TRY(take(sizeof out, bytes));
        std::memcpy(&out, bytes.data(), sizeof out);
        return Status::ok();
    }
    template <class... Numbers>
    Status numbers(Numbers&... out) {
        Status status = Status::ok();
        static_cast<void>(((status = number(out)).is_ok() && ...));
        return status;
    }
    // A number of items, then these; `width`: bytes of one.
    Status items(std::size_t width, std::size_t& count, Bytes& out) {
        std::uint64_t said = 0;
        VSS_TRY(number(said));
        const auto bytes = product(said, width);
        if (!bytes) {
            return damaged(cat(said, " items"));
        }
        count = said;
        return take(*bytes, out);
    }
    Status skip_items(std::size_t width) {
        std::size_t count = 0;
        Bytes bytes;
        return items(width, count, bytes);
    }
    Status floats(std::size_t expected, std::string_view what, Bytes& out) {
        std::size_t count = 0;
        VSS_TRY(items(sizeof(float), count, out));
        return count == expected ? Status::ok() : damaged(cat(what, ": expected ", expected, " numbers, got ", count));
    }
    Status name(std::string& out) {
        Bytes bytes;
        VSS_TRY(take(4, bytes));
        out.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        const bool printable = std::all_of(out.begin(), out.end(), [](char c) { return c > ' ' && c < 127; });
        return printable ? Status::ok() : damaged("it does not begin with the name of an index");
    }
    Status header(Header& out);
    // `count` codes, in a vector of bytes (`width` 1) or of words (4).
    Status codes(const Header& header, std::unique_ptr<Coding> coding, std::size_t width,
                 std::unique_ptr<StoredVectors>& out);
    Status scalar_codes(const Header& header, std::unique_ptr<Coding>& out);
    Status product_codes(const Header& header, std::unique_ptr<Coding>& out);
    Status lists(const std::string& kind, const Header& header, int depth, std::unique_ptr<StoredVectors>& out);
    Status skip_graph(std::size_t size);
    Status transform(Transform& out);
    Status transformed(const Header& header, int depth, std::unique_ptr<StoredVectors>& out);
    Status mapped(const Header& header, int depth, std::unique_ptr<StoredVectors>& out);
    static Status matches(const StoredVectors& inner, const Header& header) {
        return inner.dim() == header.dim && inner.size() == header.size
                   ? Status::ok()
                   : damaged(cat("expected ", header.size, " vectors of ", header.dim, " dimensions, got ",
                                 inner.size(), " of ", inner.dim()));
    }

    Bytes rest_;
};

Status FaissReader::header(Header& out) {
    std::int32_t dim = 0;
    std::int64_t size = 0;
    std::int64_t unused = 0;
    std::uint8_t is_trained = 0;
    std::int32_t metric = 0;
    VSS_TRY(numbers(dim, size, unused, unused, is_trained, metric));
    if (metric > 1) {
        float argument = 0;
        VSS_TRY(number(argument));
    }
    if (dim < 1 || static_cast<std::size_t>(dim) > max_dimensions) {
        return damaged(cat(dim, " dimensions"));
    }
    if (size < 0 || size > std::numeric_limits<std::uint32_t>::max()) {
        return damaged(cat(size, " vectors"));
    }
    out = {static_cast<std::size_t>(dim), static_cast<std::size_t>(size), metric};
    return Status::ok();
}

Status FaissReader::codes(const Header& header, std::unique_ptr<Coding> coding, std::size_t width,
                          std::unique_ptr<StoredVectors>& out) {
    std::size_t count = 0;
    Bytes bytes;
    VSS_TRY(items(width, count, bytes));
    const auto expected = product(header.size, coding->code_size());
    if (!expected || *expected != bytes.size()) {
        return damaged(
            cat("expected ", header.size, " codes of ", coding->code_size(), " bytes, got ", bytes.size(), " bytes"));
    }
    out = std::make_unique<CodedVectors>(std::move(coding), bytes);
    return Status::ok();
}

Status FaissReader::scalar_codes(const Header& header, std::unique_ptr<Coding>& out) {
    const std::size_t dim = header.dim;
    std::int32_t type = 0;
    std::int32_t range = 0;
    float range_argument = 0;
    std::uint64_t said_dim = 0;
    std::uint64_t code_size = 0;
    VSS_TRY(numbers(type, range, range_argument, said_dim, code_size));
    if (type < 0 || type >= ScalarCodes::type_count || said_dim != dim) {
        return damaged(cat("a scalar quantizer of type ", type, " for ", said_dim, " dimensions"));
    }
    const auto kind = static_cast<ScalarCodes::Type>(type);
    std::size_t count = 0;
    Bytes trained;
    VSS_TRY(items(sizeof(float), count, trained));
    // There are none before it was trained, and no codes either.
    if (code_size != ScalarCodes::bytes_of(kind, dim) ||
        (count != ScalarCodes::trained_floats(kind, dim) && (count != 0 || header.size > 0))) {
        return damaged(cat("a scalar quantizer with codes of ", code_size, " bytes and ", count, " numbers"));
    }
    out = std::make_unique<ScalarCodes>(kind, dim, trained);
    return Status::ok();
}

Status FaissReader::product_codes(const Header& header, std::unique_ptr<Coding>& out) {
    const std::size_t dim = header.dim;
    std::uint64_t said_dim = 0;
    std::uint64_t parts = 0;
    std::uint64_t bits = 0;
    VSS_TRY(numbers(said_dim, parts, bits));
    constexpr std::uint64_t most_bits = 16;
    if (said_dim != dim || parts == 0 || parts > dim || dim % parts != 0 || bits == 0 || bits > most_bits) {
        return damaged(
            cat("a product quantizer of ", parts, " parts and ", bits, " bits for ", said_dim, " dimensions"));
    }
    Bytes centroids;
    VSS_TRY(floats(dim << bits, "a product quantizer", centroids));
    out = std::make_unique<ProductCodes>(dim, parts, bits, centroids);
    return Status::ok();
}

Status FaissReader::lists(const std::string& kind, const Header& header, int depth,
                          std::unique_ptr<StoredVectors>& out) {
    std::uint64_t list_count = 0;
    std::uint64_t probes = 0;
    VSS_TRY(numbers(list_count, probes));
    std::unique_ptr<StoredVectors> centroids;
    VSS_TRY(index(centroids, depth + 1));
    std::uint8_t map_type = 0;
    VSS_TRY(number(map_type));
    VSS_TRY(skip_items(sizeof(std::int64_t)));
    if (map_type == 2) {
        VSS_TRY(skip_items(2 * sizeof(std::int64_t)));
    }
    std::unique_ptr<Coding> coding;
    std::uint64_t code_size = header.dim * sizeof(float);
    std::uint8_t by_residual = 0;
    if (kind == "IwFl") {
        coding = std::make_unique<PlainFloats>(header.dim);
    } else if (kind == "IwSq") {
        VSS_TRY(scalar_codes(header, coding));
        VSS_TRY(numbers(code_size, by_residual));
    } else {
        VSS_TRY(numbers(by_residual, code_size));
        VSS_TRY(product_codes(header, coding));
    }
    std::string lists_name;
    VSS_TRY(name(lists_name));
    if (lists_name == "il00" && header.size == 0) {
        out = std::make_unique<CodedVectors>(std::move(coding), Bytes{});
        return Status::ok();
    }
    std::uint64_t said_lists = 0;
    std::uint64_t said_code_size = 0;
    std::string form;
    if (lists_name != "ilar") {
        return not_known(cat("whose lists are kept as ", lists_name));
    }
    VSS_TRY(numbers(said_lists, said_code_size));
    VSS_TRY(name(form));
    if (said_lists != list_count || said_code_size != code_size || code_size != coding->code_size() ||
        (form != "full" && form != "sprs")) {
        return damaged("its inverted lists");
    }
    std::size_t count = 0;
    Bytes sizes;
    VSS_TRY(items(sizeof(std::uint64_t), count, sizes));
    if (form == "full" ? count != list_count : count % 2 != 0) {
        return damaged("the sizes of its inverted lists");
    }
    const auto size_at = [&](std::size_t i) {
        std::uint64_t value = 0;
        std::memcpy(&value, sizes.data() + i * sizeof value, sizeof value);
        return value;
    };
    std::vector<ListedVectors::Part> parts;
    std::vector<std::int64_t> ids;
    const std::size_t step = form == "full" ? 1 : 2;
    for (std::size_t i = 0; i < count; i += step) {
        const std::uint64_t list = step == 1 ? i : size_at(i);
        const std::uint64_t size = size_at(i + step - 1);
        if (size == 0) {
            continue;
        }
        const auto bytes = product(size, code_size);
        if (list >= list_count || size > header.size - ids.size() || !bytes) {
            return damaged("its inverted lists hold more than it says");
        }
        ListedVectors::Part part{list, ids.size(), {}};
        VSS_TRY(take(*bytes, part.codes));
        Bytes numbers;
        VSS_TRY(take(size * sizeof(std::int64_t), numbers));
        const std::size_t first = ids.size();
        ids.resize(first + size);
        std::memcpy(ids.data() + first, numbers.data(), numbers.size());
        parts.push_back(part);
    }
    if (ids.size() != header.size) {
        return damaged(cat("expected ", header.size, " vectors in its lists, got ", ids.size()));
    }
    const bool is_residual = by_residual != 0;
    if (is_residual && header.size > 0 && (centroids->dim() != header.dim || centroids->size() != list_count)) {
        return damaged("the centroids of its lists");
    }
    out = std::make_unique<ListedVectors>(std::move(coding), std::move(parts),
                                          is_residual ? std::move(centroids) : nullptr);
    out->ids_ = std::move(ids);
    return Status::ok();
}

// The graph says nothing of the vectors.
Status FaissReader::skip_graph(std::size_t size) {
    VSS_TRY(skip_items(sizeof(double)));
    VSS_TRY(skip_items(sizeof(std::int32_t)));
    std::size_t levels = 0;
    Bytes bytes;
    VSS_TRY(items(sizeof(std::int32_t), levels, bytes));
    if (levels != size) {
        return damaged(cat("its graph has ", levels, " nodes for ", size, " vectors"));
    }
    VSS_TRY(skip_items(sizeof(std::uint64_t)));
    VSS_TRY(skip_items(sizeof(std::int32_t)));
    std::array<std::int32_t, 5> settings{};
    return numbers(settings);
}

Status FaissReader::transform(Transform& out) {
    std::string kind;
    VSS_TRY(name(kind));
    if (kind == "rrot" || kind == "PcAm" || kind == "Pcam" || kind == "LTra" || kind == "Viqm") {
        out.is_linear = true;
        if (kind == "PcAm" || kind == "Pcam") {
            float power = 0;
            float epsilon = 0;
            std::uint8_t rotated = 0;
            std::int32_t bins = 0;
            VSS_TRY(number(power));
            if (kind == "Pcam") {
                VSS_TRY(number(epsilon));
            }
            VSS_TRY(numbers(rotated, bins));
            VSS_TRY(skip_items(sizeof(float)));
            VSS_TRY(skip_items(sizeof(float)));
            VSS_TRY(skip_items(sizeof(float)));
        } else if (kind == "Viqm") {
            std::array<std::int32_t, 2> settings{};
            VSS_TRY(number(settings));
        }
        std::uint8_t has_bias = 0;
        VSS_TRY(number(has_bias));
        std::size_t count = 0;
        VSS_TRY(items(sizeof(float), count, out.matrix));
        VSS_TRY(items(sizeof(float), count, out.bias));
        if (has_bias == 0) {
            out.bias = {};
        }
    } else if (kind == "VNrm") {
        float norm = 0;
        VSS_TRY(number(norm));
    } else if (kind == "VCnt") {
        std::size_t count = 0;
        VSS_TRY(items(sizeof(float), count, out.center));
    } else {
        return not_known(cat("behind the transform ", kind));
    }
    std::int32_t in = 0;
    std::int32_t to = 0;
    std::uint8_t is_trained = 0;
    VSS_TRY(numbers(in, to, is_trained));
    const auto is_dim = [](std::int32_t dim) { return dim > 0 && static_cast<std::size_t>(dim) <= max_dimensions; };
    if (!is_dim(in) || !is_dim(to)) {
        return damaged(cat("a transform from ", in, " to ", to, " dimensions"));
    }
    out.in = static_cast<std::size_t>(in);
    out.out = static_cast<std::size_t>(to);
    const bool fits = out.is_linear
                          ? is_trained == 0 || (out.matrix.size() == out.in * out.out * sizeof(float) &&
                                                (out.bias.empty() || out.bias.size() == out.out * sizeof(float)))
                          : out.in == out.out && (out.center.empty() || out.center.size() == out.in * sizeof(float));
    return fits ? Status::ok() : damaged("the matrix of a transform");
}

Status FaissReader::transformed(const Header& header, int depth, std::unique_ptr<StoredVectors>& out) {
    std::int32_t count = 0;
    VSS_TRY(number(count));
    if (count < 1 || static_cast<std::size_t>(count) > most_transforms) {
        return damaged(cat(count, " transforms"));
    }
    std::vector<Transform> transforms(static_cast<std::size_t>(count));
    std::size_t dim = header.dim;
    for (Transform& one : transforms) {
        VSS_TRY(transform(one));
        if (one.in != dim) {
            return damaged("transforms that do not follow each other");
        }
        dim = one.out;
    }
    std::unique_ptr<StoredVectors> inner;
    VSS_TRY(index(inner, depth + 1));
    if (inner->dim() != dim || inner->size() != header.size) {
        return damaged("what is behind a transform");
    }
    for (const Transform& one : transforms) {
        if (one.is_linear && header.size > 0 &&
            (one.matrix.size() != one.in * one.out * sizeof(float) || !has_orthonormal_rows(one))) {
            return not_known("behind a transform that cannot be undone");
        }
    }
    out = std::make_unique<TransformedVectors>(std::move(transforms), std::move(inner));
    return Status::ok();
}

Status FaissReader::mapped(const Header& header, int depth, std::unique_ptr<StoredVectors>& out) {
    VSS_TRY(index(out, depth + 1));
    VSS_TRY(matches(*out, header));
    std::size_t count = 0;
    Bytes bytes;
    VSS_TRY(items(sizeof(std::int64_t), count, bytes));
    if (count != header.size) {
        return damaged(cat("expected ", header.size, " row numbers, got ", count));
    }
    std::vector<std::int64_t> ids(count);
    if (count > 0) {
        std::memcpy(ids.data(), bytes.data(), bytes.size());
    }
    if (!out->ids().empty()) {
        // Lists keep positions at which vectors were added. Faiss' IDMap takes a deleted row's number out of its map,
        // but leaves the positions as they were: they are still in the map's order.
        std::vector<std::size_t> order(count);
        std::iota(order.begin(), order.end(), std::size_t{0});
        const std::vector<std::int64_t>& positions = out->ids();
        std::sort(order.begin(), order.end(),
                  [&](std::size_t a, std::size_t b) { return positions[a] < positions[b]; });
        std::vector<std::int64_t> by_list(count);
        for (std::size_t rank = 0; rank < count; ++rank) {
            if (rank > 0 && positions[order[rank]] == positions[order[rank - 1]]) {
                return {Code::unsupported,
                        "rows were added after others had been deleted, and sqlite-vss 0.1.2 mixes up the numbers of "
                        "rows then in an IVF index; which vector belongs to which row is not in the file"};
            }
            by_list[order[rank]] = ids[rank];
        }
        ids = std::move(by_list);
    }
    out->ids_ = std::move(ids);
    return Status::ok();
}

Status FaissReader::index(std::unique_ptr<StoredVectors>& out, int depth) {
    if (depth > deepest) {
        return damaged("it is nested too deeply");
    }
    std::string kind;
    VSS_TRY(name(kind));
    Header header;
    VSS_TRY(this->header(header));
    if (kind == "IxMp" || kind == "IxM2") {
        VSS_TRY(mapped(header, depth, out));
    } else if (kind == "IxF2" || kind == "IxFI" || kind == "IxFl") {
        VSS_TRY(codes(header, std::make_unique<PlainFloats>(header.dim), sizeof(float), out));
    } else if (kind == "IxSQ" || kind == "IxPq") {
        std::unique_ptr<Coding> coding;
        VSS_TRY(kind == "IxSQ" ? scalar_codes(header, coding) : product_codes(header, coding));
        VSS_TRY(codes(header, std::move(coding), 1, out));
        if (kind == "IxPq") {
            std::int32_t search_type = 0;
            std::uint8_t signs = 0;
            std::int32_t polysemous = 0;
            VSS_TRY(numbers(search_type, signs, polysemous));
        }
    } else if (kind == "IwFl" || kind == "IwSq" || kind == "IwPQ") {
        VSS_TRY(lists(kind, header, depth, out));
    } else if (kind == "IHNf" || kind == "IHNs" || kind == "IHNp") {
        VSS_TRY(skip_graph(header.size));
        VSS_TRY(index(out, depth + 1));
        VSS_TRY(matches(*out, header));
    } else if (kind == "IxPT") {
        VSS_TRY(transformed(header, depth, out));
    } else if (kind == "IxRF") {
        // A coarse index first, then the exact one of the same vectors in the same order.
        std::unique_ptr<StoredVectors> coarse;
        VSS_TRY(index(coarse, depth + 1));
        VSS_TRY(index(out, depth + 1));
        VSS_TRY(matches(*out, header));
        float factor = 0;
        VSS_TRY(number(factor));
    } else {
        return not_known(cat("of kind ", kind));
    }
    out->dim_ = header.dim;
    out->size_ = header.size;
    out->metric_ = header.metric;
    return Status::ok();
}

Status read_faiss(std::span<const std::byte> bytes, std::unique_ptr<StoredVectors>& out) {
    FaissReader reader(bytes);
    VSS_TRY(reader.index(out));
    return reader.is_at_end() ? Status::ok() : damaged("there is more behind its end");
}

}  // namespace vss
