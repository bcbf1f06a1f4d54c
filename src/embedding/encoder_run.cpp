#include "encoder_run.h"

#include <algorithm>
#include <utility>

namespace vss::embedding {

// What a batch is computed in.
struct EncoderRun::Room {
    std::vector<std::int32_t> ids;
    std::vector<std::size_t> starts;
    std::vector<float> hidden;
    std::vector<float> pooled;
};

EncoderRun::EncoderRun(const BertEncoder& encoder, EncoderTexts texts, EncoderBatches batches, Finish finish,
                       float* out, std::size_t width, std::size_t threads)
    : encoder_(encoder),
      texts_(std::move(texts)),
      batches_(std::move(batches)),
      finish_(std::move(finish)),
      out_(out),
      width_(width),
      threads_of_batch_(batches_.ends.size() == 1 ? threads : 1) {}

bool EncoderRun::work(std::size_t most) {
    Room room;
    try {
        for (std::size_t count = 0; !stopped_.load(); ++count) {
            if (most != 0 && count == most) {
                return next_.load() < batches_.ends.size();
            }
            const std::size_t batch = next_.fetch_add(1);
            if (batch >= batches_.ends.size()) {
                break;
            }
            compute(batch == 0 ? 0 : batches_.ends[batch - 1], batches_.ends[batch], room);
        }
    } catch (...) {
        stop();
        throw;
    }
    return false;
}

void EncoderRun::compute(std::size_t begin, std::size_t end, Room& room) {
    const std::size_t hidden = encoder_.sizes().hidden;
    room.ids.clear();
    room.starts.assign(1, 0);
    for (std::size_t i = begin; i < end; ++i) {
        const std::size_t text = batches_.order[i];
        room.ids.insert(room.ids.end(), texts_.ids + texts_.starts[text], texts_.ids + texts_.starts[text + 1]);
        room.starts.push_back(room.ids.size());
    }
    room.hidden.resize(room.ids.size() * hidden);
    encoder_.encode(room.ids.data(), nullptr, room.starts.data(), end - begin, room.hidden.data(), threads_of_batch_);
    bool finite = true;
    for (std::size_t i = begin; i < end; ++i) {
        const std::size_t first = room.starts[i - begin];
        const TokenVectors text{room.hidden.data() + first * hidden, room.starts[i - begin + 1] - first, finish_.skip,
                                hidden};
        finite = finish_.write(text, room.pooled, out_ + batches_.order[i] * width_, width_) && finite;
    }
    if (!finite) {
        finite_.store(false);
    }
    done_.fetch_add(end - begin);
}

}  // namespace vss::embedding
