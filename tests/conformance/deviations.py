"""Where a target is known to differ: each row is a claim, and a test fails when it is no longer so.

What differs on our own targets is listed in SEMANTICS.md, by the behaviour's name.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import NamedTuple


class Deviation(NamedTuple):
    behaviours: str  # names or patterns, separated by blanks
    targets: str  # likewise
    why: str


DEVIATIONS = [
    Deviation("device_0_0_is_refused", "native-*", "only a union keeps device 0:0 for itself"),
    Deviation(
        "rename_can_leave_a_whiteout",
        "overlay* kernel-overlaytop-*",
        "overlayfs does not take RENAME_WHITEOUT",
    ),
    Deviation(
        "wh_file_of_a_layer_* wh_files_of_a_layer_are_not_seen entry_beside_its_wh_file_covers_what_is_below",
        "native-* overlay overlay-*",
        "deletions in the form of files are for tar layers and mount programs",
    ),
    Deviation("rename_can_leave_a_whiteout", "kernel-* pyfuse3-*", "the whiteout hides the name, itself too"),
    Deviation(
        "map_of_a_lower_file_sees_what_another_writes",
        "overlay* kernel-overlaytop-*",
        "overlayfs maps the lower file itself",
    ),
    Deviation(
        "lower_file_is_copied_in_the_kernel copy_file_range_into_a_lower_file",
        "kernel-overlaytop-*",
        "overlayfs copies no ranges between a lower and an upper file of different file systems: EXDEV",
    ),
    Deviation(
        "unlinked_lower_file_has_no_links",
        "overlay* kernel-overlaytop-*",
        "overlayfs tells the count of the lower file",
    ),
    Deviation(
        "write_to_one_lower_hard_link* chmod_of_one_lower_hard_link_changes_the_other "
        "unlink_of_a_lower_hard_link_lowers_the_count unlink_after_copy_up_keeps_the_other_names "
        "rename_of_a_lower_hard_link_keeps_it_linked rename_between_lower_hard_links_does_nothing "
        "new_link_to_a_lower_hard_link_joins_it name_covered_by_a_layer_is_no_longer_linked "
        "link_whose_first_name_is_hidden_is_read hard_links_survive_the_rename_of_their_directory "
        "hard_linked_symlinks_are_one_inode link_replaced_by_rename_leaves_its_group",
        "overlay overlay-userns kernel-overlaytop-*",
        "without its index, overlayfs breaks hard links when it copies up",
    ),
    Deviation(
        "name_covered_by_a_layer_is_no_longer_linked link_whose_first_name_is_hidden_is_read",
        "overlay-index",
        "overlayfs counts hard links that a layer hides",
    ),
    Deviation(
        "new_link_to_a_lower_file", "overlay-userns", "nothing records the origin without trusted xattrs"
    ),
    Deviation(
        "lower_directory_is_renamed lower_directory_moves_* lower_directory_rep* lower_directory_ren* "
        "merged_directory_is_* renamed_lower_directory_* renamed_merged_directory_* "
        "directory_made_at_the_old_name_is_empty nested_directories_* parent_then_child_are_renamed "
        "directory_replaces_an_emptied_lower_one directory_does_not_replace_a_full_lower_one "
        "exchange_of_merged_and_lower_directories exchange_of_a_lower_directory_and_a_new_file "
        "open_files_follow_the_rename_of_a_lower_directory hard_link_into_a_renamed_directory "
        "every_level_of_a_lower_path_is_renamed",
        "overlay-userns",
        "overlayfs in a user namespace writes no redirects: EXDEV",
    ),
    Deviation(
        "unusual_lower_names_work",
        "overlay-index kernel-overlaytop-*",
        "overlayfs's redirects end at 256 bytes: EXDEV",
    ),
    Deviation(
        "default_acl_is_inherited default_acl_takes_the_place_of_the_umask",
        "pyfuse3-*",
        "libfuse does not ask for FUSE_DONT_MASK: the kernel applies the umask although there is a default ACL",
    ),
    Deviation(
        "fallocate_extends_with_zeros fallocate_can_keep_the_size punched_hole_* space_operations_* "
        "unlinked_file_can_be_changed_in_all_ways",
        "pyfuse3-*",
        "pyfuse3 has no fallocate: EOPNOTSUPP",
    ),
    Deviation(
        "holes_are_found holes_of_a_lower_file_are_found",
        "pyfuse3-*",
        "pyfuse3 has no lseek: the whole file is data, and its end the only hole",
    ),
    Deviation(
        "tmpfile_has_no_name tmpfile_gets_a_name_by_link tmpfile_honours_the_umask tmpfile_inherits_a_default_acl "
        "exclusive_tmpfile_cannot_get_a_name",
        "pyfuse3-*",
        "pyfuse3 has no tmpfile: EOPNOTSUPP",
    ),
]


def deviation(behaviour: str, target: str) -> Deviation | None:
    """The row for this behaviour on this target."""
    for row in DEVIATIONS:
        if _fits(behaviour, row.behaviours) and _fits(target, row.targets):
            return row
    return None


def _fits(name: str, patterns: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns.split())
