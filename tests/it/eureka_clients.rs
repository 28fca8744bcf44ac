//! Real clients of other languages against `pmctl eureka serve`.
