// SPDX-License-Identifier: MIT
// Threads that stand at the same place, put together: a pool of a thousand waiting workers is one stack.
//
// Runs in the handler. The memory is the report's. What finds no room is not put together, and the report shows it by
// itself: nobody is left out.
#pragma once

#include <tocsin/in_signal/capture.hpp>

namespace tocsin::in_signal {

struct group_member {
    std::int32_t thread;
    std::uint32_t next;  // place of the next one and 1; 0 for none
    char name[16];       // the kernel's, ends with a zero
};

struct stack_group {
    std::uint64_t hash;
    walk walked;
    std::uint32_t frames;  // place of the first
    std::uint32_t first;   // members, by place and 1
    std::uint32_t last;
    std::uint32_t members;
    std::uint32_t next;    // in its bucket, by place and 1
};

class stack_groups {
  public:
    static constexpr std::uint32_t most_groups = 1024;
    static constexpr std::uint32_t most_frames_kept = 32'768;
    static constexpr std::uint32_t most_members = 32'768;

    void clear() noexcept {
        for (std::uint32_t& each : buckets_) each = 0;
        groups_used_ = frames_used_ = members_used_ = 0;
    }

    // False if there is no room for it.
    bool add(int thread, char const* name, std::size_t name_size, stack const& of) noexcept {
        if (members_used_ == most_members) return false;
        stack_group* const to = find_or_make(of);
        if (to == nullptr) return false;
        group_member& member = members_[members_used_++];
        member.thread = thread;
        member.next = 0;
        std::size_t const kept = name_size < sizeof member.name ? name_size : sizeof member.name - 1;
        for (std::size_t i = 0; i < kept; ++i) member.name[i] = name[i];
        member.name[kept] = '\0';
        (to->first == 0 ? to->first : members_[to->last - 1].next) = members_used_;
        to->last = members_used_;
        ++to->members;
        return true;
    }

    std::uint32_t count() const noexcept { return groups_used_; }
    stack_group const& group(std::uint32_t place) const noexcept { return groups_[place]; }
    frame const* frames_of(stack_group const& of) const noexcept { return frames_ + of.frames; }
    group_member const* first_of(stack_group const& of) const noexcept { return at(of.first); }
    group_member const* after(group_member const& one) const noexcept { return at(one.next); }

  private:
    static constexpr std::uint32_t bucket_count = 1024;

    group_member const* at(std::uint32_t place) const noexcept { return place != 0 ? &members_[place - 1] : nullptr; }

    static std::uint64_t hash_of(stack const& of) noexcept {
        std::uint64_t hash = of.walked.omitted;
        for (std::size_t i = 0; i < of.walked.frames; ++i) {
            hash = (hash ^ of.frames[i].pc) * 0x9e3779b97f4a7c15U;
            hash ^= hash >> 29;
        }
        return hash;
    }

    bool same(stack_group const& one, stack const& of) const noexcept {
        walk const& kept = one.walked;
        if (kept.frames != of.walked.frames || kept.omitted != of.walked.omitted || kept.ended != of.walked.ended)
            return false;
        for (std::size_t i = 0; i < kept.frames; ++i)
            if (frames_[one.frames + i].pc != of.frames[i].pc) return false;
        return true;
    }

    stack_group* find_or_make(stack const& of) noexcept {
        std::uint64_t const hash = hash_of(of);
        std::uint32_t& bucket = buckets_[hash % bucket_count];
        for (std::uint32_t place = bucket; place != 0; place = groups_[place - 1].next)
            if (groups_[place - 1].hash == hash && same(groups_[place - 1], of)) return &groups_[place - 1];
        auto const frames = static_cast<std::uint32_t>(of.walked.frames);
        if (groups_used_ == most_groups || most_frames_kept - frames_used_ < frames) return nullptr;
        for (std::uint32_t i = 0; i < frames; ++i) frames_[frames_used_ + i] = of.frames[i];
        groups_[groups_used_] = {hash, of.walked, frames_used_, 0, 0, 0, bucket};
        frames_used_ += frames;
        bucket = ++groups_used_;
        return &groups_[groups_used_ - 1];
    }

    std::uint32_t buckets_[bucket_count];
    std::uint32_t groups_used_;
    std::uint32_t frames_used_;
    std::uint32_t members_used_;
    stack_group groups_[most_groups];
    frame frames_[most_frames_kept];
    group_member members_[most_members];
};

}  // namespace tocsin::in_signal
