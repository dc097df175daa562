"""The function for awslambdaric: echoes."""


def handler(event, context):
    return event
