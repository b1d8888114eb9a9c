"""--shard 2/3 runs the second third of the tests, as a GitLab job with parallel: 3 does."""


def pytest_addoption(parser):
    parser.addoption("--shard", default="1/1", help="number/total of the shard")


def pytest_collection_modifyitems(config, items):
    number, total = (int(part) for part in config.getoption("--shard").split("/"))
    keep = [item for index, item in enumerate(items) if index % total == number - 1]
    config.hook.pytest_deselected(items=[item for item in items if item not in keep])
    items[:] = keep
