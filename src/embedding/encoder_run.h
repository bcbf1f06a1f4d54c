// The vectors of many texts, computed batch by batch by as many threads as call work(): none of them waits for another,
// nor for whoever made the run.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bert_encoder.h"
#include "pooling.h"

namespace vss::embedding {

// Texts in the caller's memory: text i has the tokens ids[starts[i]] to ids[starts[i + 1]], checked as
// BertEncoder::encode asks for it.
struct EncoderTexts {
    const std::int32_t* ids = nullptr;
    std::vector<std::size_t> starts;  // one more than texts
};

// Which texts go through the encoder together: those of `order`, cut behind `ends`, which ascend to the number of
// texts. No text is named twice.
struct EncoderBatches {
    std::vector<std::size_t> order;
    std::vector<std::size_t> ends;
};

class EncoderRun {
  public:
    // Text i's vector goes to row i of `out`, `width` values of those that `finish` gives. The memory of the texts and
    // of `out`, and the encoder, outlive the run. A single batch is computed by up to `threads` threads.
    EncoderRun(const BertEncoder& encoder, EncoderTexts texts, EncoderBatches batches, Finish finish, float* out,
               std::size_t width, std::size_t threads);

    // Computes batches until none is left, `most` are done (0: no bound), or stop() was called; false if none is left
    // for this thread. Throws std::bad_alloc, after which nobody begins another batch.
    bool work(std::size_t most);

    void stop() noexcept { stopped_.store(true); }
    // Texts whose vectors are there.
    [[nodiscard]] std::size_t done() const noexcept { return done_.load(); }
    // Whether no value so far was NaN or infinite.
    [[nodiscard]] bool finite() const noexcept { return finite_.load(); }

  private:
    struct Room;
    void compute(std::size_t begin, std::size_t end, Room& room);

    const BertEncoder& encoder_;
    EncoderTexts texts_;
    EncoderBatches batches_;
    Finish finish_;
    float* out_;
    std::size_t width_;
    std::size_t threads_of_batch_;
    std::atomic<std::size_t> next_{0};
    std::atomic<std::size_t> done_{0};
    std::atomic<bool> stopped_{false};
    std::atomic<bool> finite_{true};
};

}  // namespace vss::embedding
