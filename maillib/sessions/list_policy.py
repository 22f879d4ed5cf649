"""Who may write to a list.

A member who has an address here has to log in: the sender that a stranger names may be forged. One from elsewhere
cannot log in, so that his reverse-path has to do. A notification (null reverse-path) is accepted from anyone: it never
goes to the members but to the owners.
"""

from collections.abc import Mapping

from maillib.address import Address
from maillib.ports.directory import Account, Directory, Resolution
from maillib.ports.lists import MailingList, Post

WHO_MAY_POST: Mapping[Post, str] = {
    Post.MEMBERS: "Only members may write to this list, and those who have an address here have to log in",
    Post.OWNER: "Only its owners may write to this list, and those who have an address here have to log in",
}
"""For those who may not."""


async def may_post(
    directory: Directory, mailing_list: MailingList, *, account: Account | None, sender: Address | None
) -> bool:
    """`account`: who has logged in; None: nobody. `sender`: the reverse-path.

    Raises NotFound: the list has gone meanwhile.
    """
    if sender is None or mailing_list.post is Post.ANYONE:
        return True
    if _is_among(await directory.resolve(mailing_list.owner_address), account, sender):
        return True
    if mailing_list.post is Post.OWNER:
        return False
    return _is_among(await directory.members(mailing_list.address), account, sender)


def _is_among(found: Resolution, account: Account | None, sender: Address) -> bool:
    if account is not None:
        return any(one.id == account.id for one in found.accounts)
    key = sender.key
    return any(one.key == key for one in found.remote)
