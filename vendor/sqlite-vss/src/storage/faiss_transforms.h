// What transforms before a Faiss index did to vectors, undone.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "storage/faiss_bytes.h"
#include "storage/faiss_codings.h"

namespace vss {

struct Transform {
    std::size_t in = 0;
    std::size_t out = 0;
    bool is_linear = false;
    Bytes matrix;  // out x in floats
    Bytes bias;    // out floats, or none
    Bytes center;  // subtracted before; in floats, or none

    void undo(const std::vector<float>& from, std::vector<float>& to) const;
    // Whether undo() can undo a linear one.
    [[nodiscard]] bool has_orthonormal_rows() const;
};

class TransformedVectors final : public StoredVectors {
  public:
    TransformedVectors(std::vector<Transform> transforms, std::unique_ptr<StoredVectors> inner)
        : transforms_(std::move(transforms)), inner_(std::move(inner)) {
        is_lossy_ = true;
        ids_ = inner_->ids();
    }
    void read(std::size_t i, float* out) const override;

  private:
    std::vector<Transform> transforms_;
    std::unique_ptr<StoredVectors> inner_;
};

}  // namespace vss
